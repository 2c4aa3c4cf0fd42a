"""Truncation of the next token's distribution before sampling (top-k, top-p and others)."""

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.logits import NEG_INF


@struct.dataclass
class Truncation:
  """Parameters of truncation for each row. A method that is None is not in the program.

  Attributes:
    temperature: [B], above 0; log-probabilities are divided by it first.
    top_k: int32 [B], see `keep_top_k`.
    top_p: [B], see `keep_top_p`.
    min_p: [B], see `keep_min_p`.
    typical_p: [B], see `keep_typical`.
  """

  temperature: jax.Array
  top_k: jax.Array | None = None
  top_p: jax.Array | None = None
  min_p: jax.Array | None = None
  typical_p: jax.Array | None = None


def truncate(truncation: Truncation, log_probs: jax.Array) -> jax.Array:
  """Applies temperature, top_k, top_p, min_p and typical_p, in this order.

  Each method sees the tokens that the methods before it kept, as a distribution that sums to 1, and
  keeps at least one of them.

  Args:
    truncation: see `Truncation`.
    log_probs: [B,W,V].

  Returns:
    Logits [B,W,V] to draw from, minus infinity for tokens that may not be drawn.
  """
  logits = log_probs / truncation.temperature[:, None, None]  # [B,W,V] / [B,1,1]
  for keep, parameter in (
    (keep_top_k, truncation.top_k),
    (keep_top_p, truncation.top_p),
    (keep_min_p, truncation.min_p),
    (keep_typical, truncation.typical_p),
  ):
    if parameter is not None:
      logits = keep(logits, parameter)
  return logits


def keep_top_k(logits: jax.Array, count: jax.Array) -> jax.Array:
  """Keeps the `count` likeliest tokens of `logits` [B,W,V]; int32 [B], 0 keeps all.

  Tokens exactly as likely as the last one kept are kept too.
  """
  # Every token weighs 1; a sum of infinity is never reached, so all are kept.
  enough = jnp.where(count > 0, count, jnp.inf)[:, None, None]  # [B] -> [B,1,1]
  return jnp.where(_greatest(logits, jnp.ones_like(logits), enough), logits, NEG_INF)


def keep_top_p(logits: jax.Array, mass: jax.Array) -> jax.Array:
  """Keeps the fewest likeliest tokens whose probabilities sum to `mass` [B] or more; 1 keeps all.

  Nucleus sampling of Holtzman et al. (2020, arXiv:1904.09751, section 3.1), for `logits` [B,W,V].
  Tokens exactly as likely as the last one kept are kept too.
  """
  # Rounding could make the sum reach 1 before the last token.
  enough = jnp.where(mass < 1, mass, jnp.inf)[:, None, None]  # [B] -> [B,1,1]
  return jnp.where(_greatest(logits, jax.nn.softmax(logits), enough), logits, NEG_INF)


def keep_min_p(logits: jax.Array, ratio: jax.Array) -> jax.Array:
  """Keeps tokens at least `ratio` [B] times as likely as the likeliest one; 0 keeps all.

  Min-p sampling of Nguyen et al. (2024, arXiv:2407.01082), for `logits` [B,W,V].
  """
  # p >= ratio * max(p) in logarithms: [B,W,V] -> [B,W,1], and [B] -> [B,1,1].
  least = logits.max(axis=-1, keepdims=True) + jnp.log(ratio)[:, None, None]
  return jnp.where(logits >= least, logits, NEG_INF)


def keep_typical(logits: jax.Array, mass: jax.Array) -> jax.Array:
  """Keeps the fewest most typical tokens whose probabilities sum to `mass` [B] or more; 1: all.

  A token is more typical the nearer its information, -log p, is to the entropy of the distribution:
  locally typical sampling of Meister et al. (2022, arXiv:2202.00666), for `logits` [B,W,V]. Tokens
  exactly as typical as the last one kept are kept too.
  """
  log_probs = jax.nn.log_softmax(logits)
  probs = jnp.exp(log_probs)
  # Impossible tokens add 0 * -inf, which would be NaN. [B,W,V] -> [B,W,1]
  entropy = -jnp.sum(jnp.where(probs > 0, probs * log_probs, 0.0), axis=-1, keepdims=True)
  enough = jnp.where(mass < 1, mass, jnp.inf)[:, None, None]  # [B] -> [B,1,1]
  # |information - entropy| = |log p + entropy|; the smallest come first.
  return jnp.where(_greatest(-jnp.abs(log_probs + entropy), probs, enough), logits, NEG_INF)


def _greatest(values: jax.Array, weights: jax.Array, enough: jax.Array) -> jax.Array:
  """SpecialTokens the fewest greatest values whose weights sum to `enough`, or all; bool [B,W,V].

  Finds the least of these values by bisection over the bits of float32, 32 sums, which on a CPU is
  several times faster than sorting.

  Args:
    values: [B,W,V].
    weights: [B,W,V].
    enough: [B,1,1].
  """
  bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
  sign = jnp.uint32(1 << 31)
  # Maps floats to unsigned integers in the same order: the sign bit is set for positive floats, so
  # that they come after all negative ones, whose bits are inverted because they order backwards.
  order = jnp.where(bits < sign, bits | sign, ~bits)

  def set_bit(i: jax.Array, least: jax.Array) -> jax.Array:
    # Raises the bound if the values from the higher one on still weigh enough.
    higher = least | (sign >> i.astype(jnp.uint32))
    total = jnp.sum(jnp.where(order >= higher, weights, 0), axis=-1, keepdims=True)  # -> [B,W,1]
    return jnp.where(total >= enough, higher, least)

  return order >= jax.lax.fori_loop(0, 32, set_bit, jnp.zeros_like(order[..., :1]))

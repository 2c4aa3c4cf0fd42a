"""Which tokens may be drawn: what sampling makes of a distribution, in one order."""

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.logits import NEG_INF


@struct.dataclass
class Truncation:
  """What is kept of each row's distributions. What is None is not in the program.

  Attributes:
    temperature: [B], above 0, what log-probabilities are divided by first.
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
  """The logits [B,W,V] that tokens are drawn by, minus infinity for what may not be drawn.

  Temperature, top_k, top_p, min_p, typical_p: each sees what the ones before it have left, as a
  distribution of its own. None leaves nothing.

  Args:
    truncation: see `Truncation`.
    log_probs: [B,W,V].
  """
  logits = log_probs / truncation.temperature[:, None, None]
  for keep, number in (
    (keep_top_k, truncation.top_k),
    (keep_top_p, truncation.top_p),
    (keep_min_p, truncation.min_p),
    (keep_typical, truncation.typical_p),
  ):
    if number is not None:
      logits = keep(logits, number)
  return logits


def keep_top_k(logits: jax.Array, count: jax.Array) -> jax.Array:
  """Makes all but the `count` likeliest tokens impossible; int32 [B], 0: none is.

  Tokens of `logits` [B,W,V] that are as likely as the last one kept are kept too.
  """
  enough = jnp.where(count > 0, count, jnp.inf)[:, None, None]
  return jnp.where(_top(logits, jnp.ones_like(logits), enough), logits, NEG_INF)


def keep_top_p(logits: jax.Array, mass: jax.Array) -> jax.Array:
  """Keeps the smallest set of likeliest tokens whose probabilities reach `mass` [B]; 1: all.

  This is the nucleus of Holtzman et al. (2020, arXiv:1904.09751, section 3.1). Tokens of `logits`
  [B,W,V] that are as likely as the last one kept are kept too.
  """
  # Rounding may let the sum reach 1 too early.
  enough = jnp.where(mass < 1, mass, jnp.inf)[:, None, None]
  return jnp.where(_top(logits, jax.nn.softmax(logits), enough), logits, NEG_INF)


def keep_min_p(logits: jax.Array, share: jax.Array) -> jax.Array:
  """Keeps the tokens at least `share` [B] times as likely as the likeliest one; 0: all.

  Nguyen et al. (2024, arXiv:2407.01082), for `logits` [B,W,V].
  """
  least = logits.max(axis=-1, keepdims=True) + jnp.log(share)[:, None, None]
  return jnp.where(logits >= least, logits, NEG_INF)


def keep_typical(logits: jax.Array, mass: jax.Array) -> jax.Array:
  """Keeps the smallest set of most typical tokens whose probabilities reach `mass` [B]; 1: all.

  A token is the more typical the nearer its information, -log p, is to the entropy of the
  distribution: the locally typical sampling of Meister et al. (2022, arXiv:2202.00666). Tokens of
  `logits` [B,W,V] that are as typical as the last one kept are kept too.
  """
  log_probs = jax.nn.log_softmax(logits)
  probs = jnp.exp(log_probs)
  entropy = -jnp.sum(jnp.where(probs > 0, probs * log_probs, 0.0), axis=-1, keepdims=True)
  enough = jnp.where(mass < 1, mass, jnp.inf)[:, None, None]
  return jnp.where(_top(-jnp.abs(log_probs + entropy), probs, enough), logits, NEG_INF)


def _top(values: jax.Array, weights: jax.Array, enough: jax.Array) -> jax.Array:
  """Which of `values` [B,W,V] are the greatest whose `weights` sum to `enough` [B,1,1], or all.

  The least of them is found bit by bit, which is several times quicker than sorting on a CPU.
  """
  bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
  sign = jnp.uint32(1 << 31)
  # Unsigned integers in the order of the values: positive ones come after all negative ones.
  order = jnp.where(bits < sign, bits | sign, ~bits)

  def set_bit(i: jax.Array, least: jax.Array) -> jax.Array:
    higher = least | (sign >> i.astype(jnp.uint32))
    total = jnp.sum(jnp.where(order >= higher, weights, 0), axis=-1, keepdims=True)
    return jnp.where(total >= enough, higher, least)

  return order >= jax.lax.fori_loop(0, 32, set_bit, jnp.zeros_like(order[..., :1]))

"""Parallel decoding: masked tokens are predicted together, and the most certain ones are kept.

Chang et al. 2022 (arXiv:2202.04200), section 3.2. After step t of S a share cos(pi/2 * t/S) of the
tokens is masked still. A token that was kept never changes.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.logits import forbid, log_softmax

# Tokens [N,T], masked where unknown -> logits [N,T,V].
Predict = Callable[[jax.Array], jax.Array]


@struct.dataclass
class MaskedSettings:
  """Settings of parallel decoding; numbers are traced.

  Attributes:
    steps: scalar S, number of predictions.
    temperature: scalar; tokens are drawn from the distribution at this temperature. 0: the
      likeliest.
    choice_temperature: scalar; Gumbel noise times this, times the share of steps that are left,
      is added to the log-probability by which tokens are kept. 0: none.
    seed: scalar, uint32.
    forbidden: bool [U], true for tokens that are never generated; nor are tokens from U on.
  """

  steps: jax.Array
  temperature: jax.Array
  choice_temperature: jax.Array
  seed: jax.Array
  forbidden: jax.Array


@struct.dataclass
class MaskedResult:
  """Decoded sequences.

  Attributes:
    tokens: int32 [N,T].
    log_probs: float32 [N,T], log-probability of each token when it was kept; 0 for given ones.
  """

  tokens: jax.Array
  log_probs: jax.Array


def decode(
  predict: Predict,
  tokens: jax.Array,
  unknown: jax.Array,
  numbers: jax.Array,
  settings: MaskedSettings,
  mask: int,
) -> MaskedResult:
  """Fills in the unknown tokens of sequences.

  Args:
    predict: the model.
    tokens: int32 [N,T], the known ones; those at unknown places are not read.
    unknown: bool [N,T], places to fill in.
    numbers: int32 [N], number of each sequence; draws depend on it alone.
    settings: see `MaskedSettings`.
    mask: id that the model reads at unknown places.
  """
  counts = unknown.sum(axis=1)  # [N]
  keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(settings.seed), numbers)

  def step(
    state: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
  ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    number, tokens, unknown, kept = state
    logits = predict(jnp.where(unknown, mask, tokens)).astype(jnp.float32)
    padding = logits.shape[-1] - settings.forbidden.shape[0]
    forbidden = jnp.pad(settings.forbidden, (0, padding), constant_values=True)  # [U] -> [V]
    log_probs = forbid(log_softmax(logits), forbidden)
    token_keys, choice_keys = jax.vmap(jax.random.split, out_axes=1)(_at(keys, number))
    drawn = _draw(token_keys, log_probs, settings.temperature)
    sure = jnp.take_along_axis(log_probs, drawn[..., None], axis=2)[..., 0]  # [N,T,V] -> [N,T]
    left = 1 - (number + 1) / settings.steps
    noise = _gumbel(choice_keys, drawn.shape[1:])
    ranked = sure + settings.choice_temperature * left * noise  # [N,T]
    # Places that stay unknown: those of the lowest ranks; known ones are behind them all.
    share = jnp.sin(math.pi / 2 * left)
    # A whole number that is just missed by rounding is meant.
    remaining = jnp.floor(share * counts + 1e-4).astype(jnp.int32)
    order = jnp.argsort(jnp.where(unknown, ranked, jnp.inf), axis=1)
    rank = jnp.argsort(order, axis=1)  # [N,T]
    still = unknown & (rank < remaining[:, None])
    new = unknown & ~still
    return number + 1, jnp.where(new, drawn, tokens), still, jnp.where(new, sure, kept)

  state = (jnp.int32(0), tokens, unknown, jnp.zeros(tokens.shape, jnp.float32))
  _, tokens, _, kept = jax.lax.while_loop(lambda s: s[0] < settings.steps, step, state)
  return MaskedResult(tokens, kept)


def _draw(keys: jax.Array, log_probs: jax.Array, temperature: jax.Array) -> jax.Array:
  """Returns a token of each distribution, [N,T,V] -> [N,T]; the likeliest at temperature 0."""

  def perturbed() -> jax.Array:
    return log_probs + temperature * _gumbel(keys, log_probs.shape[1:])

  return jax.lax.cond(temperature > 0, perturbed, lambda: log_probs).argmax(axis=-1)


def _at(keys: jax.Array, number: jax.Array) -> jax.Array:
  """Returns keys [N] for step `number`."""
  return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def _gumbel(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns Gumbel noise of each key, [N] -> [N,*shape]."""
  return jax.vmap(lambda key: jax.random.gumbel(key, shape))(keys)

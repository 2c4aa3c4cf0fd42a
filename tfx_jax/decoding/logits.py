"""Rules on the next token's log-probabilities: pure functions, settings traced."""

import jax
import jax.numpy as jnp

NEG_INF = -jnp.inf


def forbid(log_probs: jax.Array, tokens: tuple[int, ...]) -> jax.Array:
  """Sets the log-probabilities [...,V] of `tokens` to minus infinity."""
  banned = jnp.isin(_ids(log_probs), jnp.asarray(tokens, jnp.int32))
  return jnp.where(banned, NEG_INF, log_probs)


def limit_length(
  log_probs: jax.Array,
  length: jax.Array,
  min_length: jax.Array,
  max_length: jax.Array,
  eos: int,
) -> jax.Array:
  """Forbids EOS before `min_length` tokens, and everything else at `max_length`.

  Args:
    log_probs: [B,W,V], of token number `length` (counted from 1, EOS counted).
    length: scalar.
    min_length: [B], the least number of tokens of a finished hypothesis.
    max_length: [B], the greatest number; it wins over `min_length`.
    eos: id of the end token.
  """
  is_eos = _ids(log_probs) == eos
  last = (length >= max_length)[:, None, None]
  early = (length < min_length)[:, None, None] & ~last
  return jnp.where((is_eos & early) | (~is_eos & last), NEG_INF, log_probs)


def _ids(log_probs: jax.Array) -> jax.Array:
  """Token ids along the last axis, of the shape of `log_probs`."""
  return jax.lax.broadcasted_iota(jnp.int32, log_probs.shape, log_probs.ndim - 1)

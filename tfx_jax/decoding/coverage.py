"""Coverage penalty: lowers the scores of hypotheses that leave part of the source unread."""

import jax
import jax.numpy as jnp


def coverage_penalty(coverage: jax.Array, real: jax.Array) -> jax.Array:
  """Sum over the source of log(min(attention, 1)), [B,W], at most 0.

  This is cp of Wu et al. (2016, arXiv:1609.08144, eq. 14) without its weight beta.

  Args:
    coverage: [B,W,S], attention that each source position got, summed over all target tokens, EOS
      included.
    real: bool [B,S], false for padding, which does not count.
  """
  # A weight that rounded to 0 costs much, but must not make the score minus infinity.
  floor = jnp.finfo(jnp.float32).tiny
  logs = jnp.log(jnp.clip(coverage.astype(jnp.float32), floor, 1.0))  # [B,W,S]
  return jnp.where(real[:, None], logs, 0.0).sum(axis=-1)  # [B,W,S] -> [B,W]

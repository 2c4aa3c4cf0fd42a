"""The coverage penalty: hypotheses that leave part of the source unread are worth less."""

import jax
import jax.numpy as jnp


def coverage_penalty(coverage: jax.Array, real: jax.Array) -> jax.Array:
  """Sums over the source of log(min(attention, 1)), [B,W]: 0 or less (arXiv:1609.08144, eq. 14).

  Args:
    coverage: [B,W,S], the attention that each position has had from all tokens, EOS counted.
    real: bool [B,S]; padding counts for nothing.
  """
  # A weight that has rounded to nothing costs much, but not everything.
  floor = jnp.finfo(jnp.float32).tiny
  logs = jnp.log(jnp.clip(coverage.astype(jnp.float32), floor, 1.0))
  return jnp.where(real[:, None], logs, 0.0).sum(axis=-1)

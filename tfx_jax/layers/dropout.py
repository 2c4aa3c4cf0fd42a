"""Dropout whose random bits cost a few integer operations per element."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Dropout(nn.Module):
  """Zeroes elements with probability `rate` and scales the rest; active when given a 'dropout' rng.

  Attributes:
    rate: probability of a zero, in [0, 1).
  """

  rate: float

  def __call__(self, x: jax.Array) -> jax.Array:
    return drop(x, self.rate, dropout_key(self, self.rate))


def dropout_key(module: nn.Module, rate: float) -> jax.Array | None:
  """Returns a new key of the rng 'dropout' of `module`; None without one, or for rate 0."""
  return module.make_rng("dropout") if rate and module.has_rng("dropout") else None


def drop(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
  """Zeroes elements of `x` with probability `rate`, scales the rest; without a key returns `x`."""
  if key is None:
    return x
  keep = random_bits(key, x.shape) >= jnp.uint32(rate * 2**32)
  return jnp.where(keep, x * jnp.asarray(1.0 / (1.0 - rate), x.dtype), 0)


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns uniform uint32 of `shape`: a hash of each element's number, seeded by `key`.

  The finaliser of a 32-bit multiply-xorshift hash (constants of Chris Wellons' hash prospector,
  "lowbias32"). Not good enough for statistics, but for dropout. Unlike Threefry it fuses into the
  operation that uses it, is computed again in the backward pass instead of stored, and does not
  depend on how the array is sharded.
  """
  seed = jax.random.bits(key, (2,), jnp.uint32)
  number, stride = jnp.zeros(shape, jnp.uint32), 1
  for axis in reversed(range(len(shape))):
    number += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride % 2**32)
    stride *= shape[axis]
  h = (number ^ seed[0]) * jnp.uint32(0x9E3779B1) + seed[1]
  h = (h ^ (h >> 16)) * jnp.uint32(0x7FEB352D)
  h = (h ^ (h >> 15)) * jnp.uint32(0x846CA68B)
  return h ^ (h >> 16)

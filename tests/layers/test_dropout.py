"""Dropout: its rate, its expectation, and that its zeros have no pattern."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tfx_jax.layers.dropout import Dropout, random_bits

SHAPE = (8, 64, 512)
COUNT = 8 * 64 * 512


def drop(x, rate, seed=0):
  return Dropout(rate).apply({}, x, rngs={"dropout": jax.random.key(seed)})


def zeros(rate, seed=0, shape=SHAPE):
  return np.asarray(drop(jnp.ones(shape), rate, seed)) == 0


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_rate_is_respected_and_expectation_kept(rate):
  y = np.asarray(drop(jnp.ones(SHAPE), rate))
  bound = 5 * np.sqrt(rate * (1 - rate) / COUNT)
  assert abs((y == 0).mean() - rate) < bound
  assert abs(y.mean() - 1) < bound / (1 - rate)
  np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)


def test_inactive_without_a_key_of_its_name_or_at_rate_zero():
  x = jnp.arange(6.0)
  assert Dropout(0.5).apply({}, x) is x
  assert Dropout(0.5).apply({}, x, rngs={"params": jax.random.key(0)}) is x
  assert drop(x, 0.0) is x


def agreement(a, b, rate):
  """How far two masks agree more or less often than independent ones, in standard deviations."""
  expected = rate**2 + (1 - rate) ** 2
  return abs((a == b).mean() - expected) / np.sqrt(expected * (1 - expected) / a.size)


def test_same_key_same_zeros_other_key_independent_ones():
  rate = 0.25
  masks = [zeros(rate, seed) for seed in range(6)]
  np.testing.assert_array_equal(masks[0], zeros(rate, 0))
  for i in range(6):
    for j in range(i):
      assert agreement(masks[i], masks[j], rate) < 5


def test_neighbours_are_independent_along_every_axis():
  rate = 0.25
  mask = zeros(rate)
  for axis, size in enumerate(SHAPE):
    for offset in (1, 2, 3, 4, 7, 16, 32):
      if offset < size:
        one, other = (np.take(mask, np.arange(size - offset) + o, axis) for o in (0, offset))
        assert agreement(one, other, rate) < 5, (axis, offset)


@pytest.mark.parametrize("seed", range(3))
def test_bits_are_uniform_alone_and_in_neighbouring_pairs(seed):
  """Chi-square of bytes, and of the leading four bits of two neighbours."""
  bits = np.asarray(random_bits(jax.random.key(seed), (COUNT,)))

  def chi_square(values):
    counts = np.bincount(values, minlength=256)
    return ((counts - COUNT / 256) ** 2 / (COUNT / 256)).sum()

  bytes_ = [(bits >> shift) & 255 for shift in (0, 8, 16, 24)]
  pairs = [(bits >> 28) * 16 + (np.roll(bits, -offset) >> 28) for offset in (1, 2, 64, 512)]
  for values in bytes_ + pairs:
    # Of 255 degrees of freedom: mean 255, standard deviation 22.6.
    assert 255 - 6 * 22.6 < chi_square(values.astype(np.int64)) < 255 + 6 * 22.6


def test_layers_of_one_model_differ():
  class Two(nn.Module):
    def setup(self):
      self.one, self.other = Dropout(0.5), Dropout(0.5)

    def __call__(self, x):
      return self.one(x), self.other(x), self.one(x)

  rngs = {"dropout": jax.random.key(0)}
  one, other, again = (np.asarray(y) == 0 for y in Two().apply({}, jnp.ones(4096), rngs=rngs))
  assert agreement(one, other, 0.5) < 5
  assert agreement(one, again, 0.5) < 5, "a layer called twice drops the same elements"


def test_zeros_do_not_depend_on_sharding():
  mesh = jax.make_mesh((4, 2), ("data", "tensor"), axis_types=(AxisType.Auto,) * 2)
  x, alone = jnp.ones((8, 6, 10)), zeros(0.5, shape=(8, 6, 10))
  for spec in (
    PartitionSpec("data"),
    PartitionSpec(None, "tensor"),
    PartitionSpec("data", None, "tensor"),
  ):
    sharding = NamedSharding(mesh, spec)
    dropped = jax.jit(drop, static_argnums=1, in_shardings=sharding, out_shardings=sharding)
    y = dropped(jax.device_put(x, sharding), 0.5)
    assert len({shard.device for shard in y.addressable_shards}) == 8
    np.testing.assert_array_equal(np.asarray(y) == 0, alone)


def test_gradient_passes_where_values_pass():
  x = jnp.arange(1.0, 101.0)
  gradient = jax.grad(lambda x: drop(x, 0.3).sum())(x)
  np.testing.assert_allclose(gradient * x, drop(x, 0.3), rtol=1e-6)


def test_keeps_the_dtype():
  assert drop(jnp.ones(4, jnp.bfloat16), 0.5).dtype == jnp.bfloat16

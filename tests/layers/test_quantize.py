import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.layers.quantize import codes_of, count_codes, quantize, values_of

LEVELS = [(8, 5, 5, 5), (2, 3), (7,), (4, 4, 4)]


@pytest.mark.parametrize("levels", LEVELS)
def test_a_code_stands_for_one_vector(levels):
  codes = np.arange(count_codes(levels))
  values = values_of(codes, levels)
  assert len(np.unique(np.asarray(values), axis=0)) == math.prod(levels)
  assert np.array_equal(codes_of(values, levels), codes)
  assert float(jnp.abs(values).max()) <= 1


@pytest.mark.parametrize("levels", LEVELS)
def test_each_level_is_reached_and_no_other(levels):
  x = np.linspace(-8, 8, 4001, dtype=np.float32)[:, None].repeat(len(levels), axis=1)
  found = np.asarray(quantize(x, levels))
  for number, count in enumerate(levels):
    expected = (np.arange(count) - count // 2) / (count // 2)
    assert np.allclose(np.unique(found[:, number]), expected, atol=1e-6)


def test_every_code_is_reached():
  levels = (4, 3)
  x = np.array(list(itertools.product(np.linspace(-4, 4, 50), repeat=2)), np.float32)
  assert set(np.asarray(codes_of(quantize(x, levels), levels))) == set(range(12))


@pytest.mark.parametrize("count", [2, 5, 8])
def test_the_formula_is_that_of_the_paper(count):
  x = np.random.default_rng(0).normal(0, 2, (50, 1)).astype(np.float32)
  reach, offset = (count - 1) * 0.999 / 2, 0.5 if count % 2 == 0 else 0.0
  bounded = np.tanh(x + np.tan(offset / reach)) * reach - offset
  assert np.allclose(quantize(x, (count,)), np.round(bounded) / (count // 2), atol=1e-6)
  slope = (1 - np.tanh(x + np.tan(offset / reach)) ** 2) * reach / (count // 2)
  gradient = jax.grad(lambda x: quantize(x, (count,)).sum())(jnp.asarray(x, jnp.float32))
  assert np.allclose(gradient, slope, atol=1e-5)

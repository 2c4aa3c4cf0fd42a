import jax
import numpy as np
import pytest

from tfx_jax.decoding.top_k import BLOCK, top_k

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("size", [9, 4 * BLOCK * 8 + 1, 5000, 80 * BLOCK])
@pytest.mark.parametrize("values", [3, 10_000])
def test_equals_a_stable_sort(count, size, values):
  """With only three values there are many ties, and the first of equal values wins."""
  x = RNG.integers(0, values, (4, size)).astype(np.float32)
  x[1] = -np.inf
  x[2, RNG.permutation(size)[: size - 2]] = -np.inf
  found, places = jax.jit(top_k, static_argnums=1)(x, count)
  order = np.argsort(-x, axis=1, kind="stable")[:, :count]
  np.testing.assert_array_equal(places, order)
  np.testing.assert_array_equal(found, np.take_along_axis(x, order, axis=1))


def test_only_some_blocks_of_a_large_input_are_searched():
  x = jax.ShapeDtypeStruct((4, 80 * BLOCK), np.float32)
  text = jax.jit(top_k, static_argnums=1).lower(x, 8).as_text()
  searched = [line for line in text.splitlines() if "chlo.top_k" in line]
  assert len(searched) == 2
  assert all(f"4x{80 * BLOCK}xf32" not in line for line in searched)

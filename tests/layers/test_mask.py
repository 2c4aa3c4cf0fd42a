"""Symbolic masks against their definition."""

import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.layers.mask import Mask, lower


@pytest.mark.parametrize("causal", [True, False])
def test_a_query_sees_its_own_segment_and_if_causal_the_past(causal):
  segments = np.array([[1, 1, 2, 2, 3, 0, 0], [1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1]])
  seen = np.asarray(lower(Mask(jnp.asarray(segments), jnp.asarray(segments), causal)))
  assert seen.dtype == bool
  for b in range(3):
    for t in range(7):
      for s in range(7):
        same = segments[b, t] == segments[b, s] != 0
        assert seen[b, t, s] == (same and (s <= t or not causal)), (b, t, s)


def test_queries_and_keys_may_differ_in_length():
  query, key = np.array([[1, 2, 0]]), np.array([[1, 1, 2, 0]])
  seen = lower(Mask(jnp.asarray(query), jnp.asarray(key)))
  np.testing.assert_array_equal(seen[0], [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])


def test_dense_masks_pass():
  dense = jnp.ones((1, 2, 3), bool)
  assert lower(dense) is dense

"""The coverage penalty against its formula."""

import jax.numpy as jnp
import numpy as np

from tfx_jax.decoding.coverage import coverage_penalty


def test_coverage_penalty_equals_the_formula_without_padding():
  rng = np.random.default_rng(0)
  coverage, real = 2 * rng.random((2, 3, 5)), np.arange(5)[None] < np.array([[5], [3]])
  found = coverage_penalty(jnp.asarray(coverage), jnp.asarray(real))
  for row in range(2):
    for beam in range(3):
      seen = coverage[row, beam, : 5 if row == 0 else 3]
      np.testing.assert_allclose(found[row, beam], np.log(np.minimum(seen, 1)).sum(), rtol=1e-5)


def test_coverage_penalty_is_never_positive_and_never_infinite():
  coverage = jnp.asarray([[[0.0, 1.0, 7.0], [1.0, 3.0, 1.5]]])
  found = coverage_penalty(coverage, jnp.ones((1, 3), bool))
  assert np.isfinite(found).all() and found[0, 0] < -80 and found[0, 1] == 0

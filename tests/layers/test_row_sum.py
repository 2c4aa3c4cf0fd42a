"""Sums over the last axis: the same on every platform, however they are made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.layers.row_sum import row_sum


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_those_of_numpy_and_have_their_gradient(weighted):
  rng = np.random.default_rng(0)
  x, weights = rng.normal(size=(3, 4, 50)), rng.normal(size=50) if weighted else np.ones(50)
  args = [jnp.asarray(a, jnp.float32) for a in ((x, weights) if weighted else (x,))]
  np.testing.assert_allclose(row_sum(*args), (x @ weights)[..., None], atol=1e-5)
  of_x = jax.grad(lambda x: row_sum(x, *args[1:]).sum())(args[0])
  np.testing.assert_allclose(of_x, np.broadcast_to(weights, x.shape), rtol=1e-6)


@pytest.mark.parametrize(("platform", "wanted"), [("cpu", "dot_general"), ("cuda", "reduce")])
def test_only_a_cpu_computes_it_as_a_product(platform, wanted):
  traced = jax.jit(row_sum).trace(jax.ShapeDtypeStruct((8, 16), jnp.float32))
  text = traced.lower(lowering_platforms=(platform,)).as_text()
  assert [op for op in ("dot_general", "reduce") if f"stablehlo.{op}" in text] == [wanted]

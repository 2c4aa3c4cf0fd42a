"""Norms against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.layers.norm import LayerNorm, RMSNorm

D = 32


def layer_norm(x, scale, bias=0.0, epsilon=1e-6):
  x = np.asarray(x, np.float64)
  mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
  return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def rms_norm(x, scale, epsilon=1e-6):
  x = np.asarray(x, np.float64)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * scale


def arrays(seed=0):
  rng = np.random.default_rng(seed)
  return 3 * rng.normal(size=(4, 5, D)) + 2, rng.normal(size=D), rng.normal(size=D)


@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_norms_equal_numpy(epsilon):
  x, scale, bias = arrays()
  y = LayerNorm(D, epsilon).apply({"params": {"scale": scale, "bias": bias}}, x)
  np.testing.assert_allclose(y, layer_norm(x, scale, bias, epsilon), atol=2e-5)
  y = LayerNorm(D, epsilon, use_bias=False).apply({"params": {"scale": scale}}, x)
  np.testing.assert_allclose(y, layer_norm(x, scale, 0.0, epsilon), atol=2e-5)
  y = RMSNorm(D, epsilon).apply({"params": {"scale": scale}}, x)
  np.testing.assert_allclose(y, rms_norm(x, scale, epsilon), atol=2e-5)


@pytest.mark.parametrize("norm", [LayerNorm(D), RMSNorm(D)])
def test_norms_start_without_scale_and_are_finite_on_constant_rows(norm):
  x = jnp.asarray(arrays()[0], jnp.float32)
  y, params = norm.init_with_output(jax.random.key(0), x)
  plain = layer_norm(x, 1.0) if isinstance(norm, LayerNorm) else rms_norm(x, 1.0)
  np.testing.assert_allclose(y, plain, atol=2e-5)
  for value in (0.0, 7.0):
    row = jnp.full((1, D), value)
    gradient = jax.grad(lambda x: norm.apply(params, x).sum())(row)
    assert np.isfinite(norm.apply(params, row)).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("kind", "reference"), [(LayerNorm, layer_norm), (RMSNorm, rms_norm)])
def test_statistics_of_bfloat16_are_float32(kind, reference):
  """With statistics in bfloat16 the mean of values around 100 would be off by whole units."""
  x, scale, _ = arrays()
  x = jnp.asarray(x + 100, jnp.bfloat16)
  norm = kind(D, dtype=jnp.bfloat16)
  params = norm.init(jax.random.key(0), x)["params"] | {"scale": scale}
  y = norm.apply({"params": params}, x)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(y.astype(jnp.float32), reference(x, scale), rtol=0.005, atol=1e-3)


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm])
def test_gradients_are_those_of_the_formula(kind):
  x, scale, weights = (jnp.asarray(a, jnp.float32) for a in arrays())

  def written(x, scale):
    params = {"scale": scale} | ({"bias": jnp.zeros(D)} if kind is LayerNorm else {})
    return (jnp.sin(kind(D, 0.1).apply({"params": params}, x)) * weights[None, None]).sum()

  def derived(x, scale):
    x = x - x.mean(-1, keepdims=True) if kind is LayerNorm else x
    y = x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 0.1) * scale[None, None]
    return (jnp.sin(y) * weights[None, None]).sum()

  for found, expected in zip(
    *(jax.grad(f, (0, 1))(x, scale) for f in (written, derived)), strict=True
  ):
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)

"""Hand-written gradients beside those that JAX derives."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfx_jax
from tfx_jax.layers.gradients import with_written_gradient
from tfx_jax.layers.head import VocabularyHead
from tfx_jax.layers.norm import LayerNorm, RMSNorm

D, V = 6, 9
LAYERS = {
  "layer_norm": (LayerNorm, (D, 0.1)),
  "layer_norm_without_bias": (LayerNorm, (D, 0.1, False)),
  "rms_norm": (RMSNorm, (D, 0.1)),
  "head": (VocabularyHead, (D, V, V - 1, False, True)),
}
# A wrong gradient shows which of the two is used.
cube = with_written_gradient(
  lambda power, x: x**power, lambda power, x: (x**power, x), lambda power, x, grad: (7 * grad,), 1
)


@pytest.mark.parametrize(("plain", "slope"), [(False, 7.0), (True, 12.0)])
def test_the_setting_selects_the_gradient(plain, slope):
  function = functools.partial(cube, 3, plain_gradients=plain)
  assert jax.value_and_grad(function)(2.0) == (8.0, slope)


def test_forward_mode_needs_plain_gradients():
  _, slope = jax.jvp(functools.partial(cube, 3, plain_gradients=True), (2.0,), (1.0,))
  assert slope == 12.0
  with pytest.raises(TypeError, match="forward-mode"):
    jax.jvp(functools.partial(cube, 3), (2.0,), (1.0,))


def test_no_gradient_is_written_that_the_setting_cannot_reach():
  root = pathlib.Path(tfx_jax.__file__).parent
  paths = [path for path in root.rglob("*.py") if "custom_" in path.read_text()]
  users = [path for path in paths if {"custom_vjp", "custom_jvp"} & set(words(path))]
  assert [path.name for path in users] == ["gradients.py"]


def words(path):
  return path.read_text().replace(".", " ").replace("(", " ").replace(",", " ").split()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layers_written_gradient_is_the_derived_one(name, dtype):
  kind, settings = LAYERS[name]
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 3, D)), jnp.float32)
  layers = [kind(*settings, dtype=jnp.dtype(dtype), plain_gradients=p) for p in (False, True)]
  shapes = jax.eval_shape(layers[0].init, jax.random.key(0), x)["params"]
  params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), jnp.float32), shapes)

  def loss(layer, params, x):
    y = layer.apply({"params": params}, x).astype(jnp.float32)
    return jnp.sin(y[..., : D - 1]).sum()

  written, derived = (
    jax.jit(jax.grad(functools.partial(loss, layer), (0, 1)))(params, x) for layer in layers
  )
  tolerance = {"float32": 1e-5, "bfloat16": 0.05}[dtype]
  for found, wanted in zip(*map(jax.tree.leaves, (written, derived)), strict=True):
    np.testing.assert_allclose(found, wanted, atol=tolerance * np.abs(wanted).max())
    assert np.abs(wanted).max() > 0.1

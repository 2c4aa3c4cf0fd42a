"""Linear maps: the product, and how wide kernels begin."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding

from tfx_jax.layers import axes
from tfx_jax.layers.linear import Linear, add, kernel_init, product
from tfx_jax.parallel import Parallel

NAMES = (axes.EMBED, axes.MLP)


@pytest.mark.parametrize("use_bias", [True, False])
def test_linear_is_a_product_and_a_bias(use_bias):
  rng = np.random.default_rng(0)
  layer, x = Linear(5, 7, NAMES, use_bias), rng.normal(size=(2, 3, 5))
  params = {"kernel": rng.normal(size=(5, 7))} | ({"bias": rng.normal(size=7)} if use_bias else {})
  y = layer.apply({"params": params}, x)
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(
    jnp.shape, nn.unbox(layer.init(jax.random.key(0), x)["params"])
  )
  np.testing.assert_allclose(y, x @ params["kernel"] + params.get("bias", 0), atol=1e-5)


def test_bfloat16_is_of_the_product_only():
  layer, x = Linear(5, 7, NAMES, dtype=jnp.bfloat16), jnp.ones((1, 2, 5))
  y, params = layer.init_with_output(jax.random.key(0), x)
  assert y.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(("shape", "inputs"), [((64, 256), 1), ((64, 8, 16), 1), ((8, 16, 64), 2)])
def test_kernels_begin_glorot_uniform(shape, inputs):
  """Uniform within sqrt(6 / (inputs + outputs)), whichever axes are which."""
  kernel = np.asarray(kernel_init(inputs)(jax.random.key(0), shape, jnp.float32))
  fans = math.prod(shape[:inputs]) + math.prod(shape[inputs:])
  limit = math.sqrt(6 / fans)
  assert 0.999 * limit < np.abs(kernel).max() <= limit
  assert math.isclose(kernel.std(), limit / math.sqrt(3), rel_tol=0.02)
  assert abs(kernel.mean()) < 0.02 * limit


def test_add_is_along_the_last_axes_and_keeps_the_dtype():
  x, bias = jnp.zeros((2, 3, 4, 5), jnp.bfloat16), jnp.arange(20.0).reshape(4, 5)
  y = add(x, bias)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_array_equal(y, np.broadcast_to(np.arange(20).reshape(4, 5), x.shape))


@pytest.mark.parametrize("num_inputs", [1, 2])
def test_product_contracts_last_axes_with_first_ones(num_inputs):
  rng = np.random.default_rng(0)
  x, kernel = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(4, 5, 6, 7)[2 - num_inputs :])
  y = product(jnp.asarray(x), jnp.asarray(kernel), num_inputs)
  np.testing.assert_allclose(y, np.tensordot(x, kernel, num_inputs), atol=1e-5)


def compiled_gradient(x):
  """The program for a kernel's gradient; `x` [B,T,D] may be sharded."""

  def loss(x, kernel):
    y = axes.constrain(product(x, kernel), axes.BATCH, axes.LENGTH, axes.ACT_EMBED)
    return jnp.square(y).sum()

  kernel = jax.ShapeDtypeStruct((24, 48), jnp.float32)
  return jax.jit(jax.grad(loss, argnums=1)).lower(x, kernel).compile().as_text()


def test_a_kernels_gradient_transposes_no_operand(monkeypatch):
  """With rows and length apart, one of them is written with its 2 x 16 tokens last."""
  x = jax.ShapeDtypeStruct((2, 16, 24), jnp.float32)
  transposes = lambda program: re.findall(r"\[\d+,(?:32|2,16)\]\S* (?:transpose|copy)\(", program)  # noqa: E731
  assert not transposes(compiled_gradient(x))
  monkeypatch.setattr(axes, "is_sharded", lambda name: True)
  assert transposes(compiled_gradient(x))


def test_a_sharded_length_is_not_gathered():
  parallel = Parallel(sequence=4)
  with parallel.context():
    spec = nn.logical_to_mesh_axes((axes.BATCH, axes.LENGTH, axes.ACT_EMBED))
    sharding = NamedSharding(parallel.mesh, spec)
    x = jax.ShapeDtypeStruct((4, 16, 24), jnp.float32, sharding=sharding)
    program = compiled_gradient(x)
  assert "all-reduce" in program and "all-gather" not in program

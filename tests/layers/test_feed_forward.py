"""Feed-forward layers against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tfx_jax.layers.feed_forward import ACTIVATIONS, FeedForward

D, F = 6, 10
REFERENCES = {
  "relu": lambda x: np.maximum(x, 0),
  "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
  "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
  "silu": lambda x: x / (1 + np.exp(-x)),
}


def make(layer, seed=0):
  rng = np.random.default_rng(seed)
  params = nn.unbox(jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 2, D))))
  params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params)
  return params, rng.normal(size=(2, 3, D))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("gated", "use_bias"), [(False, True), (True, False), (True, True)])
def test_equals_numpy(activation, gated, use_bias):
  layer = FeedForward(D, F, activation, gated, use_bias)
  params, x = make(layer)
  p, activate = params["params"], REFERENCES[activation]
  assert set(p) == {"up", "down"} | ({"gate"} if gated else set())

  def linear(name, x):
    return x @ p[name]["kernel"] + (p[name]["bias"] if use_bias else 0)

  hidden = activate(linear("gate", x)) * linear("up", x) if gated else activate(linear("up", x))
  np.testing.assert_allclose(layer.apply(params, x), linear("down", hidden), rtol=1e-4, atol=5e-5)


def test_gelus_differ():
  x = jnp.linspace(-3, 3, 50)
  difference = np.abs(ACTIVATIONS["gelu"](x) - ACTIVATIONS["gelu_tanh"](x)).max()
  assert 1e-5 < difference < 1e-3


def test_dropout_is_of_the_hidden_layer():
  """With one hidden unit all outputs of a position are dropped together."""
  layer = FeedForward(D, 1, use_bias=False, dropout_rate=0.5)
  params = {"up": {"kernel": jnp.ones((D, 1))}, "down": {"kernel": jnp.ones((1, D))}}
  x = jnp.ones((8, 16, D))
  y = np.asarray(layer.apply({"params": params}, x, rngs={"dropout": jax.random.key(0)}))
  np.testing.assert_array_equal(y, np.broadcast_to(y[..., :1], y.shape))
  assert set(np.unique(y).tolist()) == {0.0, 2.0 * D}


def test_bfloat16():
  layer = FeedForward(D, F, "silu", gated=True, dtype=jnp.bfloat16)
  params, x = make(layer)
  y, expected = layer.apply(params, x), FeedForward(D, F, "silu", gated=True).apply(params, x)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.03 * np.abs(expected).max())

"""Heads: products with a table, padding that never comes, and frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tfx_jax.layers.cpu_layout import HEAD_TABLE
from tfx_jax.layers.head import FrameHead, VocabularyHead

D, V, TOKENS = 6, 12, 9


def arrays():
  rng = np.random.default_rng(0)
  return rng.normal(size=(2, 3, D)), rng.normal(size=(V, D)), rng.normal(size=V)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_products_with_the_table(tied, use_bias):
  hidden, table, bias = arrays()
  params = ({} if tied else {"kernel": table}) | ({"bias": bias} if use_bias else {})
  head = VocabularyHead(D, V, V, tied, use_bias)
  # What an untied head is given besides is not looked at.
  logits = head.apply({"params": params}, hidden, table if tied else jnp.zeros((V, D)))
  np.testing.assert_allclose(logits, hidden @ table.T + (bias if use_bias else 0), atol=1e-5)
  shapes = jax.eval_shape(head.init, jax.random.key(0), hidden, table).get("params", {})
  assert set(shapes) == set(params)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_a_transposed_table_takes_the_place_of_the_other(tied, use_bias):
  hidden, table, bias = arrays()
  biases = {"bias": bias} if use_bias else {}
  params = biases | ({} if tied else {"kernel": table})
  head = VocabularyHead(D, V, TOKENS, tied, use_bias)
  logits = head.apply({"params": biases | {HEAD_TABLE: table.T}}, hidden, np.zeros((V, D)))
  expected = head.apply({"params": params}, hidden, table)
  np.testing.assert_allclose(logits, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
def test_padding_is_never_likely_and_gets_no_gradient(tied, dtype):
  hidden, table, bias = arrays()
  head = VocabularyHead(D, V, TOKENS, tied, True, jnp.dtype(dtype))

  def loss(table, bias):
    params = {"bias": bias} | ({} if tied else {"kernel": table})
    log_probs = jax.nn.log_softmax(head.apply({"params": params}, hidden, table))
    return -log_probs[..., 0].sum(), log_probs

  args = jnp.asarray(table, jnp.float32), jnp.asarray(bias, jnp.float32)
  grads, log_probs = jax.grad(loss, argnums=(0, 1), has_aux=True)(*args)
  assert np.isfinite(log_probs).all()
  assert not np.exp(log_probs[..., TOKENS:]).any()
  for grad in grads:
    assert not grad[TOKENS:].any()
    assert grad[:TOKENS].all()
  real = np.asarray(log_probs, np.float64)[..., :TOKENS]
  np.testing.assert_allclose(np.exp(real).sum(-1), np.ones((2, 3)), rtol=2e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_frames_and_stop_logits_are_two_projections(dtype):
  hidden, channels = arrays()[0], 4
  head = FrameHead(D, channels, jnp.dtype(dtype))
  (frames, stop), params = head.init_with_output(jax.random.key(0), hidden)
  assert (frames.shape, stop.shape) == ((2, 3, channels), (2, 3))
  assert frames.dtype == stop.dtype == jnp.float32
  # Biases of zero would hide that there are some.
  params = jax.tree.map(lambda x: x + 0.5, nn.unbox(params)["params"])
  frames, stop = head.apply({"params": params}, hidden)
  tolerance = {"float32": 1e-5, "bfloat16": 0.1}[dtype]
  for found, name in ((frames, "frame"), (stop[..., None], "stop")):
    wanted = hidden @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
    np.testing.assert_allclose(found, wanted, atol=tolerance)

"""The head: products with a table, and a vocabulary padded with tokens that never come."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.layers import head as head_module
from tfx_jax.layers.head import VocabularyHead, prepared_head

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


@pytest.mark.parametrize("inputs_first", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_a_prepared_head_has_the_same_table(tied, use_bias, inputs_first, monkeypatch):
  monkeypatch.setattr(head_module, "inputs_first", lambda: inputs_first)
  hidden, table, bias = arrays()
  params = ({} if tied else {"kernel": table}) | ({"bias": bias} if use_bias else {})
  head, other = VocabularyHead(D, V, TOKENS, tied, use_bias), np.zeros((V, D))
  prepared = prepared_head(params, table if tied else other)
  shapes = jax.tree.map(np.shape, prepared)
  assert (shapes.get("inputs_first") == (D, V)) == inputs_first
  # What it is given besides is looked at only by a tied one that has no copy.
  logits = head.apply({"params": prepared}, hidden, table if tied and not inputs_first else other)
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

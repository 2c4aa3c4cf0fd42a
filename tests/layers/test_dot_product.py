"""Attention without parameters: the gradient that is written out is the derived one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.layers import dot_product
from tfx_jax.layers.cache import KeyValues
from tfx_jax.layers.mask import Mask

B, K, G, T, S, H = 2, 2, 3, 4, 5, 6


def arrays(dtype=jnp.float32):
  rng = np.random.default_rng(0)
  made = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)  # noqa: E731
  mask = rng.random((B, T, S)) < 0.6
  mask[0, 1] = False
  memory = KeyValues(made(B, K, H, S), made(B, K, S, H))
  return made(B, K, G, T, H), memory, jnp.asarray(mask), made(B, K, G, T, H)


def gradients(function, inputs, weights):
  query, memory, mask, bias, key = inputs

  def loss(query, memory, bias):
    return (function(query, memory, mask, bias, key).astype(jnp.float32) * weights).sum()

  return jax.jit(jax.grad(loss, argnums=(0, 1, 2) if bias is not None else (0, 1)))(
    query, memory, bias
  )


@pytest.mark.parametrize("shape", [None, (1, K, G, T, S), (1, 1, 1, T, S)])
@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_written_gradient_is_the_derived_one(rate, shape):
  query, memory, mask, weights = arrays()
  bias = None if shape is None else jnp.asarray(np.random.default_rng(1).normal(size=shape))
  inputs = query, memory, mask, bias, jax.random.key(3) if rate else None
  found, wanted = (
    gradients(functools.partial(dot_product.attend, rate, plain_gradients=plain), inputs, weights)
    for plain in (False, True)
  )
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for a, b in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, atol=3e-6)
    assert np.abs(a).max() > 0.1


def test_symbolic_masks_give_the_gradients_of_dense_ones():
  query, memory, _, weights = arrays()
  segments = jnp.ones((B, T), jnp.int32), jnp.asarray([[1, 1, 1, 0, 0]] * B)
  seen = jnp.broadcast_to(jnp.arange(S) < 3, (B, T, S))
  function = lambda *inputs: dot_product.attend(0.0, *inputs)  # noqa: E731
  found, wanted = (
    gradients(function, (query, memory, mask, None, None), weights)
    for mask in (Mask(*segments), seen)
  )
  for a, b in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_gradients_of_bfloat16_are_near_those_of_float32():
  query, memory, mask, weights = arrays(jnp.bfloat16)
  function = lambda *inputs: dot_product.attend(0.0, *inputs)  # noqa: E731
  found = gradients(function, (query, memory, mask, None, None), weights)
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), (query, memory))
  wanted = gradients(function, (*wide, mask, None, None), weights)
  for a, b in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
    assert a.dtype == jnp.bfloat16
    np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.03 * np.abs(b).max())


def test_the_gradient_keeps_no_second_array_of_scores():
  """What a row's gradient keeps from the forward pass: inputs, the softmax and the output."""
  query, memory, mask, _ = arrays()
  _, pull = jax.vjp(lambda query: dot_product.attend(0.0, query, memory, mask, None, None), query)
  kept = [leaf.shape for leaf in jax.tree.leaves(pull) if hasattr(leaf, "shape")]
  assert kept.count((B, K, G, T, S)) == 1

"""Attention against NumPy, head by head."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tfx_jax.layers.attention import Attention
from tfx_jax.layers.mask import Mask

B, T, S, D, N, H = 2, 3, 5, 16, 4, 6


def make(layer, seed=0):
  """Parameters at random, biases included."""
  rng = np.random.default_rng(seed)
  mask = Mask(jnp.ones((B, T), jnp.int32), jnp.ones((B, T), jnp.int32))

  def init(layer, x):
    query, key_values = layer.project(x, jnp.zeros((B, T), jnp.int32))
    return layer.attend(query, key_values, mask)[0]

  shapes = nn.unbox(
    jax.eval_shape(lambda key: nn.init(init, layer)(key, jnp.ones((B, T, D))), jax.random.key(0))
  )
  return jax.tree.map(lambda x: (0.4 * rng.normal(size=x.shape)).astype(np.float32), shapes)


def reference(params, x, memory, kv_heads, mask, bias=None):
  return attended(params, x, memory, kv_heads, mask, bias)[0]


def attended(params, x, memory, kv_heads, mask, bias=None):
  """The output, and the mean of the heads' weights."""
  p, out, mean = params["params"], 0.0, 0.0
  for n in range(N):
    k = n // (N // kv_heads)
    query, key, value = (
      y @ p[name]["kernel"][:, head] + (p[name]["bias"][head] if "bias" in p[name] else 0)
      for name, y, head in (("query", x, n), ("key", memory, k), ("value", memory, k))
    )
    scores = query @ key.swapaxes(1, 2) / math.sqrt(H)
    if bias is not None:
      scores = scores + bias[:, n]
    weights = np.where(mask, np.exp(scores - scores.max(-1, keepdims=True)), 0)
    weights /= weights.sum(-1, keepdims=True)
    out, mean = out + weights @ value @ p["out"]["kernel"][n], mean + weights / N
  return out + p["out"].get("bias", 0), mean


def cross(layer, params, x, memory, mask, bias=None, rngs=None):
  def run(layer):
    return layer.attend(layer.project_query(x), layer.project_memory(memory), mask, bias)[0]

  return nn.apply(run, layer)(params, rngs=rngs)


def arrays(seed=0):
  rng = np.random.default_rng(seed)
  x, memory = rng.normal(size=(B, T, D)), rng.normal(size=(B, S, D))
  mask = rng.random((B, T, S)) < 0.6
  mask[..., 0] = True
  return x, memory, mask, rng.normal(size=(1, N, T, S))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_equals_numpy(kv_heads, use_bias):
  layer = Attention(D, N, kv_heads, H, use_bias=use_bias)
  params, (x, memory, mask, bias) = make(layer), arrays()
  assert params["params"]["key"]["kernel"].shape == (D, kv_heads, H)
  assert ("bias" in params["params"]["out"]) == use_bias
  for b in (None, bias):
    y = cross(layer, params, x, memory, jnp.asarray(mask), b if b is None else jnp.asarray(b))
    np.testing.assert_allclose(y, reference(params, x, memory, kv_heads, mask, b), atol=2e-5)


def test_weights_are_averaged_over_heads_and_rerotated_on_request():
  layer = Attention(D, N, 2, H, dropout_rate=0.5)
  params, (x, memory, mask, bias) = make(layer), arrays()

  def run(layer, with_weights, key=None):
    def attend(layer):
      read = layer.project_query(x), layer.project_memory(memory)
      return layer.attend(*read, jnp.asarray(mask), jnp.asarray(bias), with_weights=with_weights)

    return nn.apply(attend, layer)(params, rngs={} if key is None else {"dropout": key})

  y, weights = run(layer, True)
  expected = attended(params, x, memory, 2, mask, bias)
  for found, wanted in zip((y, weights), expected, strict=True):
    np.testing.assert_allclose(found, wanted, atol=2e-5)
  assert weights.dtype == jnp.float32 and not weights[~mask].any()
  np.testing.assert_array_equal(run(layer, True, jax.random.key(0))[1], weights)
  assert run(layer, False)[1] is None


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_self_attention_is_attention_to_itself(kv_heads):
  layer = Attention(D, N, kv_heads, H)
  params, (x, *_) = make(layer), arrays()
  segments = jnp.ones((B, T), jnp.int32)

  def run(layer):
    query, key_values = layer.project(x, None)
    assert key_values.keys.shape == (B, kv_heads, H, T)
    assert key_values.values.shape == (B, kv_heads, T, H)
    return layer.attend(query, key_values, Mask(segments, segments, causal=True))[0]

  mask = np.tril(np.ones((T, T), bool))[None]
  y = nn.apply(run, layer)(params)
  np.testing.assert_allclose(y, reference(params, x, x, kv_heads, mask), atol=2e-5)


def test_rotary_rotates_queries_and_keys_but_not_values():
  plain, rotary = (Attention(D, N, 2, H, rotary=r) for r in (False, True))
  params, (x, *_) = make(plain), arrays()
  positions = jnp.asarray([[0, 0, 0], [4, 5, 6]])

  def project(layer):
    return nn.apply(lambda layer: layer.project(x, positions), layer)(params)

  (query, key_values), (rotated, rotated_key_values) = project(plain), project(rotary)
  np.testing.assert_allclose(query[0], rotated[0], atol=1e-6)
  np.testing.assert_array_equal(key_values.values, rotated_key_values.values)
  assert np.abs(query[1] - rotated[1]).max() > 0.1
  assert np.abs(key_values.keys[1] - rotated_key_values.keys[1]).max() > 0.1
  np.testing.assert_allclose(
    np.linalg.norm(rotated, axis=-1), np.linalg.norm(query, axis=-1), rtol=1e-5
  )


def test_a_query_that_sees_nothing_is_finite_in_value_and_gradient():
  layer = Attention(D, N, 2, H)
  params, (x, memory, mask, bias) = make(layer), arrays()
  mask[0, 1] = False
  mask[1] = False

  def loss(params, x, memory, bias):
    y = cross(layer, params, x, memory, jnp.asarray(mask), bias)
    return jnp.square(y).sum(), y

  args = jax.tree.map(jnp.asarray, (params, x, memory, bias))
  grads, y = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True))(*args)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, y)))
  assert not grads[1][1].any(), "a query's gradient without a key"
  blind = mask | ~mask.any(-1, keepdims=True)
  zero = jax.tree.map(np.zeros_like, params["params"]["query"])
  mean = reference({"params": params["params"] | {"query": zero}}, x, memory, 2, blind)
  np.testing.assert_allclose(y[1], mean[1], atol=2e-5)


def test_hidden_keys_change_nothing():
  layer = Attention(D, N, 2, H)
  params, (x, memory, mask, bias) = make(layer), arrays()
  mask[:, :, 3] = False
  other = memory.copy()
  other[:, 3] = 1e4
  y, z = (cross(layer, params, x, m, jnp.asarray(mask), jnp.asarray(bias)) for m in (memory, other))
  np.testing.assert_array_equal(y, z)


def test_dropout_differs_between_heads():
  """Values of ones make the output the sum of the kept weights."""
  layer = Attention(D, N, N, H, use_bias=False, dropout_rate=0.5)
  params, (x, memory, *_) = make(layer), arrays()
  p = params["params"]
  p["value"]["kernel"], memory[..., 0] = np.zeros((D, N, H), np.float32), 1.0
  p["value"]["kernel"][0] = 1.0
  p["out"]["kernel"] = np.zeros((N, H, D), np.float32)
  for n in range(N):
    p["out"]["kernel"][n, 0, n] = 1.0
  mask = jnp.ones((B, T, S), bool)
  whole = cross(layer, params, x, memory, mask)[..., :N]
  np.testing.assert_allclose(whole, np.ones((B, T, N)), rtol=1e-5)
  kept = cross(layer, params, x, memory, mask, rngs={"dropout": jax.random.key(0)})[..., :N]
  assert len(np.unique(np.asarray(kept).round(5))) > B * T * N / 2


def in_parts(rows_at_once, key=None, dropout=0.0):
  """The output of causal self-attention in 6 packed rows, and its gradients."""
  layer = Attention(D, N, 2, H, dropout_rate=dropout, rows_at_once=rows_at_once)
  rng = np.random.default_rng(1)
  x, bias = rng.normal(size=(6, T, D)), rng.normal(size=(1, N, T, T))
  segments = jnp.asarray([[1, 1, 2], [1, 2, 2], [1, 1, 1], [1, 2, 0], [1, 0, 0], [0, 0, 0]])
  rngs = {} if key is None else {"dropout": jax.random.key(key)}

  def loss(params, x, bias):
    def run(layer):
      return layer.attend(*layer.project(x, None), Mask(segments, segments, causal=True), bias)[0]

    y = nn.apply(run, layer)(params, rngs=rngs)
    return jnp.square(y).sum(), y

  return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(make(layer), jnp.asarray(x), bias)


@pytest.mark.parametrize("rows_at_once", [1, 2, 4, 6])  # 4 divides nothing: all at once
def test_rows_in_chunks_equal_rows_at_once(rows_at_once):
  grads, y = in_parts(rows_at_once)
  whole_grads, whole = in_parts(0)
  np.testing.assert_allclose(y, whole, atol=1e-6)
  for found, wanted in zip(*map(jax.tree.leaves, (grads, whole_grads)), strict=True):
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_dropout_differs_between_chunks_of_rows():
  """The rows of a batch of copies differ by their dropout alone."""
  layer = Attention(D, N, N, H, dropout_rate=0.5, rows_at_once=1)
  params, ones = make(layer), jnp.ones((8, T), jnp.int32)
  x = jnp.broadcast_to(jnp.asarray(arrays()[0][:1]), (8, T, D))

  def run(layer):
    return layer.attend(*layer.project(x, None), Mask(ones, ones))[0]

  y = nn.apply(run, layer)(params, rngs={"dropout": jax.random.key(0)})
  assert len(np.unique(np.asarray(y)[:, 0, 0].round(5))) == 8
  (*_, again), (*_, other) = in_parts(2, 0, 0.5), in_parts(2, 1, 0.5)
  np.testing.assert_array_equal(again, in_parts(2, 0, 0.5)[1])
  assert np.abs(again - other).max() > 0.1


def test_only_one_chunks_scores_are_held():
  """The compiled program has no array as large as all scores."""

  def largest(rows_at_once):
    layer = Attention(D, N, N, H, rows_at_once=rows_at_once)
    params, ones = make(layer), jnp.ones((16, 256), jnp.int32)

    def loss(x):
      run = lambda layer: layer.attend(*layer.project(x, None), Mask(ones, ones))[0]  # noqa: E731
      return nn.apply(run, layer)(params).sum()

    compiled = jax.jit(jax.grad(loss)).lower(jnp.ones((16, 256, D))).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  scores = 16 * N * 256 * 256 * 4
  assert largest(0) > scores > 1.5 * largest(1)


def test_the_softmax_of_bfloat16_is_float32():
  """A bias of 300 rounds to steps of 2 in bfloat16; float32 keeps the quarter."""
  layer = Attention(D, N, N, H, dtype=jnp.bfloat16)
  params, (x, memory, *_) = make(layer), arrays()
  for name in ("query", "key"):
    params["params"][name] = jax.tree.map(np.zeros_like, params["params"][name])
  bias = np.broadcast_to([300.0, 300.25, 300.5, 300.75, 301.0], (1, N, T, S))
  mask = np.ones((B, T, S), bool)
  y = cross(layer, params, x, memory, jnp.asarray(mask), jnp.asarray(bias, jnp.float32))
  assert y.dtype == jnp.bfloat16
  expected = reference(params, x, memory, N, mask, bias)
  np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.02 * np.abs(expected).max())

"""One layer: how norm, dropout and residual lie around its sublayers; a step of decoding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tfx_jax.layers.attention import Attention
from tfx_jax.layers.block import NORM_PLACEMENTS, Block, Context
from tfx_jax.layers.cache import LayerCache
from tfx_jax.layers.feed_forward import FeedForward
from tfx_jax.layers.mask import Mask
from tfx_jax.layers.norm import RMSNorm

B, T, S, D = 2, 4, 3, 8


class Times(nn.Module):
  """A stand-in for a norm or feed-forward layer, and for attention that reads nothing."""

  factor: float
  shift: float = 0.0

  def __call__(self, x):
    return x * self.factor + self.shift

  def project(self, x, positions):
    return x, None

  def attend(self, query, memory, mask, bias=None, with_weights=False):
    return self(query), None


def stub(placement, dropout_rate=0.0):
  attention, feed_forward, norm = (functools.partial(Times, *a) for a in ((3,), (5,), (2, 1)))
  return Block(attention, feed_forward, norm, None, placement, dropout_rate)


@pytest.mark.parametrize("placement", NORM_PLACEMENTS)
def test_placements_are_their_formulas(placement):
  def norm(x):
    return 2 * x + 1

  expected = np.arange(1.0, 9.0).reshape(1, 2, 4)
  x = jnp.asarray(expected)
  for factor in (3, 5):
    expected = {
      "pre": expected + factor * norm(expected),
      "post": norm(expected + factor * expected),
      "sandwich": expected + norm(factor * norm(expected)),
    }[placement]
  np.testing.assert_allclose(stub(placement).apply({}, x, context())[0], expected)


def test_dropout_zeroes_the_sublayers_output_not_the_residual():
  """From x = 1, what is added is 0 or twice what it was, in either sublayer."""
  x = jnp.ones((4, 32, 8))
  rngs = {"dropout": jax.random.key(0)}
  y = np.asarray(stub("pre", 0.5).apply({}, x, context(), rngs=rngs)[0])
  first = {1.0, 1.0 + 2 * 3 * 3}
  values = {z + 2 * keep * 5 * (2 * z + 1) for z in first for keep in (0, 1)}
  assert set(np.unique(y).tolist()) == values


def context(**changes):
  segments = jnp.ones((B, T), jnp.int32)
  positions = jnp.broadcast_to(jnp.arange(T), (B, T))
  memory_mask = Mask(segments, jnp.ones((B, S), jnp.int32))
  return Context(positions, Mask(segments, segments, causal=True), memory_mask).replace(**changes)


def make(**options):
  attention = functools.partial(Attention, D, 2, 1, 4)
  feed_forward, norm = functools.partial(FeedForward, D, 12), functools.partial(RMSNorm, D)
  self_attention = functools.partial(attention, rotary=True)
  return Block(self_attention, feed_forward, norm, attention, **options)


@pytest.mark.parametrize(("placement", "norms"), [("pre", 1), ("post", 1), ("sandwich", 2)])
def test_parameters_are_those_of_the_settings(placement, norms):
  block, x = make(norm_placement=placement), jnp.ones((B, T, D))
  params = jax.eval_shape(block.init, jax.random.key(0), x, context(), x[:, :S])["params"]
  sublayers = {"self_attention", "memory_attention", "mlp"}
  residuals = {"attention_residual", "memory_residual", "mlp_residual"}
  assert set(params) == sublayers | residuals
  assert all(len(params[name]) == norms for name in residuals)
  alone = block.clone(cross_attention=None)
  params = jax.eval_shape(alone.init, jax.random.key(0), x, context())["params"]
  assert set(params) == (sublayers | residuals) - {"memory_attention", "memory_residual"}


def test_steps_on_a_cache_equal_the_whole_sequence():
  block, rng = make(norm_placement="sandwich"), np.random.default_rng(0)
  x, memory = (jnp.asarray(rng.normal(size=(B, n, D)), jnp.float32) for n in (T, S))
  init = jax.jit(block.init_with_output)
  (whole, kept), params = init(jax.random.key(0), x, context(), memory)
  assert kept.self_kv.keys.shape == (B, 1, T, 4)
  assert kept.memory_kv.values.shape == (B, 1, S, 4)
  assert kept.attended is None

  @jax.jit
  def step(x, context, cache):
    # The memory's keys and values come from the cache; the memory itself is not looked at.
    return block.apply(params, x, context, None, cache)

  cache = LayerCache(jax.tree.map(jnp.zeros_like, kept.self_kv), kept.memory_kv)
  for t in range(T):
    seen = jnp.broadcast_to(jnp.arange(T) <= t, (B, 1, T))
    now = context(
      positions=jnp.full((B, 1), t),
      mask=seen,
      memory_mask=Mask(jnp.ones((B, 1), jnp.int32), jnp.ones((B, S), jnp.int32)),
      slot=jnp.int32(t),
    )
    y, cache = step(x[:, t : t + 1], now, cache)
    np.testing.assert_allclose(y[:, 0], whole[:, t], atol=1e-5)
    assert cache.attended is None
  np.testing.assert_allclose(cache.self_kv.keys, kept.self_kv.keys, atol=1e-5)


def test_cross_attention_weights_are_returned_on_request_and_summed_in_a_cache():
  block, rng = make(), np.random.default_rng(0)
  x, memory = (jnp.asarray(rng.normal(size=(B, n, D)), jnp.float32) for n in (T, S))
  params = jax.jit(block.init)(jax.random.key(0), x, context(), memory)
  _, kept = block.apply(params, x, context(), memory, keep_attended=True)
  assert kept.attended.shape == (B, T, S)
  np.testing.assert_allclose(kept.attended.sum(-1), np.ones((B, T)), rtol=1e-5)

  now = context(slot=jnp.int32(0))
  before = LayerCache(kept.self_kv, kept.memory_kv, jnp.full((B, T, S), 0.5))
  _, cache = block.apply(params, x, now, None, before)
  np.testing.assert_allclose(cache.attended, 0.5 + kept.attended, rtol=1e-5)

"""The cache's bookkeeping against lists of lists."""

import jax
import jax.numpy as jnp
import numpy as np

from tfx_jax.layers import cache as caches
from tfx_jax.layers.cache import Cache, KeyValues, LayerCache

B, W, P, LENGTH = 3, 4, 2, 5
PROMPT = np.array([[1, 1], [0, 1], [0, 0]], bool)


def key_values(length, value=0.0):
  return KeyValues(jnp.full((B, 2, 3, length), value), jnp.full((B, 2, length, 3), value + 1))


def create(length=LENGTH):
  return Cache.create([LayerCache(key_values(P, 1.0))], None, jnp.asarray(PROMPT), length, W)


def test_capacity_is_added_after_the_prompt():
  cache = create()
  (layer,) = cache.layers
  assert layer.self_kv.values.shape == (B, 2, P + LENGTH * W, 3)
  np.testing.assert_array_equal(layer.self_kv.values[:, :, :P], np.full((B, 2, P, 3), 2.0))
  np.testing.assert_array_equal(layer.self_kv.keys[..., :P], np.full((B, 2, 3, P), 1.0))
  assert not layer.self_kv.keys[..., P:].any()
  assert (cache.width, int(cache.index), int(cache.slot)) == (W, 0, P)
  assert cache.positions.tolist() == [2, 1, 0]


def test_write_touches_its_slots_only():
  old, new = key_values(P + LENGTH * W), key_values(W, 5.0)
  written = jax.jit(KeyValues.write)(old, new, jnp.int32(P + W))
  keys = np.asarray(written.keys)
  assert (keys[..., P + W : P + 2 * W] == 5.0).all()
  assert not keys[..., : P + W].any()
  assert not keys[..., P + 2 * W :].any()
  assert (np.asarray(written.values)[:, :, P + W : P + 2 * W] == 6.0).all()


def test_a_beam_sees_the_prompt_and_what_its_ancestors_wrote():
  rng, cache = np.random.default_rng(0), create()
  seen = [[[] for _ in range(W)] for _ in range(B)]
  for step in range(LENGTH):
    parents = rng.integers(0, W, (B, W))
    cache = cache.reorder(jnp.asarray(parents, jnp.int32))
    seen = [[[*seen[b][parents[b, w]], P + step * W + w] for w in range(W)] for b in range(B)]
    mask = np.asarray(cache.mask())
    assert mask.shape == (B, W, P + LENGTH * W)
    assert int(cache.slot) == P + step * W
    for b in range(B):
      for w in range(W):
        visible = [s for s in np.flatnonzero(mask[b, w]).tolist() if s >= P]
        assert visible == seen[b][w]
        np.testing.assert_array_equal(mask[b, w, :P], PROMPT[b])
    assert cache.query_index().tolist() == [P + step]
    assert cache.positions.tolist() == [2 + step, 1 + step, step]
    cache = cache.step(cache.layers)


def test_a_grown_cache_equals_one_created_with_the_capacity():
  rng, large, grown = np.random.default_rng(2), create(), create(2)
  for step in range(LENGTH):
    if step in (2, 3):
      grown = grown.grow({2: 3, 3: LENGTH}[step])
    parents = jnp.asarray(rng.integers(0, W, (B, W)), jnp.int32)
    new = key_values(W, float(step))
    large, grown = (
      cache.step([LayerCache(cache.layers[0].self_kv.write(new, cache.slot))])
      for cache in (large.reorder(parents), grown.reorder(parents))
    )
  jax.tree.map(np.testing.assert_array_equal, grown, large)
  np.testing.assert_array_equal(grown.mask(), large.mask())


def test_coverage_follows_the_parents():
  rng = np.random.default_rng(1)
  prompt = rng.random((B, P, 3)).astype(np.float32)
  layers = [LayerCache(key_values(P), None, w) for w in (None, jnp.asarray(prompt), None)]
  cache = Cache.create(layers, None, jnp.asarray(PROMPT), LENGTH, W)
  sums = np.repeat(
    np.stack([w[real].sum(0) for w, real in zip(prompt, PROMPT, strict=True)])[:, None], W, 1
  )
  np.testing.assert_allclose(cache.coverage(), sums, rtol=1e-5)
  for _ in range(LENGTH):
    parents, new = rng.integers(0, W, (B, W)), rng.random((B, W, 3))
    cache = cache.reorder(jnp.asarray(parents, jnp.int32))
    layers = list(cache.layers)
    layers[1] = layers[1].replace(attended=layers[1].attended + jnp.asarray(new, jnp.float32))
    cache = cache.step(layers)
    sums = np.stack([row[p] for row, p in zip(sums, parents, strict=True)]) + new
    np.testing.assert_allclose(cache.coverage(), sums, rtol=1e-5)


def test_slots_of_one_step_have_one_index():
  generated = [P + step for step in range(LENGTH) for _ in range(W)]
  assert create().key_index().tolist() == [*range(P), *generated]


def test_a_tree_of_caches_grows_and_has_their_mean_coverage():
  sums = [np.random.default_rng(seed).random((B, P, 3)).astype(np.float32) for seed in (3, 4)]
  tree = tuple(
    Cache.create([LayerCache(key_values(P), None, x)], None, jnp.ones((B, P), bool), 2, W)
    for x in sums
  )
  mean = np.mean(sums, axis=0).sum(axis=1)
  np.testing.assert_allclose(caches.coverage(tree), np.repeat(mean[:, None], W, 1), rtol=1e-5)
  np.testing.assert_array_equal(caches.coverage(tree[0]), tree[0].coverage())
  for grown, cache in zip(caches.grow(tree, LENGTH), tree, strict=True):
    jax.tree.map(np.testing.assert_array_equal, grown, cache.grow(LENGTH))
  jax.tree.map(np.testing.assert_array_equal, caches.grow(tree[0], 3), tree[0].grow(3))

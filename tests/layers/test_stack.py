"""Stacks: stored one way, run in several that are the same."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tfx_jax.errors import UserError
from tfx_jax.layers import cpu_layout
from tfx_jax.layers.attention import Attention
from tfx_jax.layers.block import Block, Context
from tfx_jax.layers.feed_forward import FeedForward
from tfx_jax.layers.mask import Mask, lower
from tfx_jax.layers.norm import LayerNorm
from tfx_jax.layers.position import BucketBias
from tfx_jax.layers.stack import REMAT_POLICIES, Stack

B, T, D, LAYERS = 2, 5, 16, 2


def make(scan=False, remat="none", num_layers=LAYERS, final_norm=True, windows=None):
  attention = functools.partial(Attention, D, 4, 2, 4, dropout_rate=0.2)
  norm = functools.partial(LayerNorm, D)
  block = functools.partial(
    Block,
    attention,
    functools.partial(FeedForward, D, 24),
    norm,
    dropout_rate=0.2,
  )
  relative = functools.partial(BucketBias, 4, False, 8, 16)
  return Stack(block, num_layers, norm if final_norm else None, relative, scan, remat, windows)


def context():
  segments = jnp.asarray([[1] * T, [1] * (T - 2) + [0] * 2])
  positions = jnp.broadcast_to(jnp.arange(T), (B, T))
  return Context(positions, Mask(segments, segments, causal=True))


def example():
  return jnp.asarray(np.random.default_rng(0).normal(size=(B, T, D)), jnp.float32)


@functools.cache
def initial():
  return jax.jit(lambda key: make().init(key, example(), context()))(jax.random.key(0))


def params():
  return nn.unbox(initial())


def loss(stack, params, x, key=None):
  rngs = {} if key is None else {"dropout": key}
  y, _ = stack.apply(params, x, context(), rngs=rngs)
  return jnp.vdot(y, jnp.cos(jnp.arange(y.size)))


@functools.cache
def value_and_grads(scan, remat):
  """Of parameters and input, with dropout."""
  function = functools.partial(loss, make(scan, remat), key=jax.random.key(3))
  return jax.jit(jax.value_and_grad(function, argnums=(0, 1)))(params(), example())


def test_parameters_are_stacked_named_and_differ_by_layer():
  tree = initial()["params"]
  assert set(tree) == {"layers", "relative_bias", "norm"}
  leaves = jax.tree_util.tree_leaves_with_path(
    tree["layers"]["stacked"], is_leaf=lambda x: isinstance(x, nn.Partitioned)
  )
  for path, leaf in leaves:
    assert leaf.value.shape[0] == LAYERS
    assert leaf.names[0] == "layers"
    assert len(leaf.names) == leaf.value.ndim
    if "kernel" in jax.tree_util.keystr(path):
      for one, other in itertools.combinations(np.asarray(leaf.value), 2):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.3
        np.testing.assert_allclose(one.std(), other.std(), rtol=0.3)


@pytest.mark.parametrize(("scan", "remat"), [(False, "dots"), (True, "none"), (True, "full")])
def test_scan_and_remat_change_neither_loss_nor_gradient(scan, remat):
  """With dropout: its zeros are the same, forward, backward and again."""
  expected = jax.tree_util.tree_leaves_with_path(value_and_grads(False, "none"))
  found = jax.tree.leaves(value_and_grads(scan, remat))
  for (path, x), y in zip(expected, found, strict=True):
    np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-5)
    # A key's bias moves all scores of a query alike, and softmax does not see it.
    assert np.abs(x).max() > 1e-3 or "['key']['bias']" in jax.tree_util.keystr(path)


def test_scanned_equals_unrolled_without_dropout():
  plain, scanned = (
    float(jax.jit(functools.partial(loss, make(scan)))(params(), example()))
    for scan in (False, True)
  )
  assert plain == pytest.approx(scanned, rel=1e-5)
  assert abs(plain - value_and_grads(False, "none")[0]) > 1e-3, "dropout did nothing"


@pytest.mark.parametrize(("transposed", "scan"), [(True, False), (False, False), (True, True)])
def test_layers_prepared_for_decoding_are_the_same_layers(transposed, scan, monkeypatch):
  monkeypatch.setattr(cpu_layout, "_MIN_INPUTS", 1)
  monkeypatch.setattr(cpu_layout, "reads_inputs_first", lambda: not transposed)
  found = cpu_layout.prepare(params()["params"])
  layers = found["layers"]["stacked"]
  assert isinstance(layers, list) and len(layers) == LAYERS
  kernel = layers[1]["mlp"]["up"]["kernel"]
  assert isinstance(kernel, cpu_layout.Transposed) == transposed
  run = jax.jit(functools.partial(loss, make(scan)))
  apart = run({"params": found}, example())
  assert float(apart) == pytest.approx(float(run(params(), example())), rel=1e-6)
  layers.reverse()
  other = run({"params": found}, example())
  assert abs(float(other) - float(apart)) > 1e-3, "the order of layers did nothing"


@pytest.mark.parametrize("remat", ["none", "full"])
def test_layers_are_traced_once_however_many(remat, monkeypatch):
  calls = []
  run = Block.__call__
  monkeypatch.setattr(Block, "__call__", lambda self, *args: calls.append(1) or run(self, *args))

  def traces(num_layers):
    stack = make(remat=remat, num_layers=num_layers)
    shapes = jax.eval_shape(lambda: nn.unbox(stack.init(jax.random.key(0), example(), context())))
    calls.clear()
    function = jax.grad(functools.partial(loss, stack, key=jax.random.key(3)))
    text = jax.jit(function).lower(shapes, example()).as_text()
    return len(calls), text.count("dot_general")

  assert traces(2) == traces(6)


def test_scan_compiles_a_loop_and_remat_computes_products_again():
  def lowered(scan, remat):
    function = jax.grad(functools.partial(loss, make(scan, remat)))
    return jax.jit(function).lower(params(), example()).as_text()

  assert "while" in lowered(True, "none")
  products = {remat: lowered(False, remat).count("dot_general") for remat in REMAT_POLICIES}
  assert products["none"] < products["dots"] < products["full"]


def test_an_alignment_layer_that_does_not_exist_is_a_one_line_error():
  for layer in (LAYERS, -LAYERS - 1):
    with pytest.raises(UserError, match=f"alignment_layer={layer}: use -2 to 1, ") as info:
      make().apply(params(), example(), context(), keep=True, alignment_layer=layer)
    assert "\n" not in str(info.value)


def test_layers_run_in_order_and_return_their_keys_and_values():
  """One layer at a time, each on the output of the one before, gives the whole."""
  tree, x = params()["params"], example()

  @functools.partial(jax.jit, static_argnums=0)
  def run(stack, tree, x):
    return stack.apply({"params": tree}, x, context(), keep=True)

  whole, kept = run(make(final_norm=False), tree, x)
  for index in range(LAYERS):
    layer = jax.tree.map(lambda leaf, index=index: leaf[index][None], tree["layers"]["stacked"])
    one = make(num_layers=1, final_norm=False)
    x, (cache,) = run(one, tree | {"layers": {"stacked": layer}}, x)
    for found, expected in zip(jax.tree.leaves(kept[index]), jax.tree.leaves(cache), strict=True):
      np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(x, whole, atol=1e-5)


@pytest.mark.parametrize("scan", [False, True])
def test_a_layers_window_equals_a_mask(scan):
  windows = (2, 0)
  stack = make(scan, final_norm=False, windows=windows)
  tree = {name: x for name, x in params()["params"].items() if name != "norm"}
  y, _ = jax.jit(stack.apply)({"params": tree}, example(), context())
  x, causal = example(), lower(context().mask)
  distance = jnp.arange(T)[:, None] - jnp.arange(T)[None]
  for index, window in enumerate(windows):
    layer = jax.tree.map(lambda leaf, index=index: leaf[index : index + 1], tree["layers"])
    seen = causal & (distance < (window or T))[None]
    one = make(num_layers=1, final_norm=False)
    x, _ = one.apply({"params": tree | {"layers": layer}}, x, context().replace(mask=seen))
  np.testing.assert_allclose(y, x, atol=1e-5)

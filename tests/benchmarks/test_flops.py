"""Counted operations against those of the programs that JAX traces, and against loops."""

import dataclasses
import types

import flops
import jax
import mfu
import numpy as np
import optax
import pytest
from flax import linen as nn
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.codecs.codec import Tokens
from tfx_jax.data.packing import pack
from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.state import TrainState, init_params
from tfx_jax.training.step import make_train_step

SHAPE = flops.Shape(
  encoder_layers=2, decoder_layers=3, features=16, feed_forward=24, vocab_size=40, num_heads=2
)


def config_of(shape):
  changes = {
    "model.encoder_layers": max(shape.encoder_layers, 1),
    "model.decoder_layers": shape.decoder_layers,
    "model.features": shape.features,
    "model.feed_forward": shape.feed_forward,
    "model.num_heads": shape.num_heads,
    "model.dtype": "float32",
  }
  if not shape.encoder_layers:
    changes |= {"model.architecture": "decoder_only", "data.target_length": 16}
  return make_config(changes)


def model_of(shape):
  tokenizer = types.SimpleNamespace(element=Tokens(shape.vocab_size))
  return builders.make_model(config_of(shape), (tokenizer, tokenizer))


def products(jaxpr):
  """Operations of all products of a traced program, those inside loops as often as they run.

  Products with a vector are sums in another form, and left out as those are.
  """
  total = 0
  for equation in jaxpr.eqns:
    of_vector = any(var.aval.ndim == 1 for var in equation.invars)
    if equation.primitive.name == "dot_general" and not of_vector:
      (contracted, _), _ = equation.params["dimension_numbers"]
      left, (out,) = equation.invars[0].aval.shape, equation.outvars
      total += 2 * np.prod(out.aval.shape) * np.prod([left[axis] for axis in contracted])
    times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
    for inner in jax.tree.leaves(
      equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
    ):
      inner = getattr(inner, "jaxpr", inner)
      if hasattr(inner, "eqns"):
        total += times * products(inner)
  return int(total)


def full_batch(rows, source, target):
  """Rows that hold one pair each, without padding."""
  sides = ([[np.full(length, 5)] for _ in range(rows)] for length in (source, target))
  return pack(*sides, source, target)


def unseen(shape, rows, length):
  """What of causal attention is computed though it is masked."""
  return shape.decoder_layers * rows * 2 * length * (length - 1) * shape.features


def test_counted_operations_are_those_of_a_traced_forward_pass():
  model, rows, source, target = model_of(SHAPE), 3, 6, 5
  batch = full_batch(rows, source, target)
  params = jax.eval_shape(lambda: init_params(model, 0, batch))

  def forward(params):
    bound = model.bind({"params": params})
    return bound.logits(bound(batch), batch["inputs"])

  traced = products(jax.make_jaxpr(forward)(params).jaxpr)
  counted = flops.forward(SHAPE, [source] * rows, [target] * rows)
  assert traced == counted + unseen(SHAPE, rows, target)


@pytest.mark.parametrize("encoder_layers", [2, 0], ids=["encoder_decoder", "decoder_only"])
def test_a_training_step_has_three_times_the_products(encoder_layers):
  shape = dataclasses.replace(SHAPE, encoder_layers=encoder_layers)
  model, rows, source, target = model_of(shape), 2, 6, 4
  batch = full_batch(rows, source, target)
  if not encoder_layers:
    batch, source = {k: v for k, v in batch.items() if not k.startswith("inputs")}, 0
  objective = TokenObjective(model, label_smoothing=0.1, loss_chunks=2)
  step = make_train_step(objective, optax.sgd(0.1), lambda step: 0.1, 0)

  def begin():
    params = init_params(model, 0, batch)
    return TrainState(0, params, optax.sgd(0.1).init(params))

  traced = products(jax.make_jaxpr(step)(jax.eval_shape(begin), batch).jaxpr)
  counted = flops.training(shape, [source] * rows, [target] * rows)
  assert traced == counted + 3 * unseen(shape, rows, target)


def loops(shape, source, target):
  """Multiplications and additions of reading one pair, product by product, token by token."""
  d, f, v = shape.features, shape.feed_forward, shape.vocab_size
  heads, size = shape.num_heads, shape.features // shape.num_heads

  def product(m, k, n):
    return m * n * (k + k)

  total = 0
  for _ in range(shape.encoder_layers):
    total += 4 * product(source, d, d) + product(source, d, f) + product(source, f, d)
    total += heads * (product(source, size, source) + product(source, source, size))
  for _ in range(shape.decoder_layers):
    total += 4 * product(target, d, d) + product(target, d, f) + product(target, f, d)
    for seen in range(1, target + 1):
      total += heads * (product(1, size, seen) + product(1, seen, size))
    if shape.encoder_layers:
      total += 2 * product(target, d, d) + 2 * product(source, d, d)
      total += heads * (product(target, size, source) + product(target, source, size))
  return total + product(target, d, v)


@pytest.mark.parametrize("encoder_layers", [0, 2])
def test_pairs_of_unequal_length_are_counted_each_by_itself(encoder_layers):
  shape = flops.Shape(encoder_layers, 3, 16, 24, 40, 2)
  sources = [3, 7, 5] if encoder_layers else [0, 0, 0]
  targets = [4, 1, 6]
  expected = sum(loops(shape, s, t) for s, t in zip(sources, targets, strict=True))
  assert flops.forward(shape, sources, targets) == expected


def test_decoding_reads_a_source_once_and_writes_with_every_beam():
  written, width = 5, 4
  alone = loops(SHAPE, 7, written)
  # What no beam adds to: reading the source, making its keys and values, and the first token.
  shared = loops(SHAPE, 7, 1)
  assert flops.decoding(SHAPE, [7], [written], 1) == alone
  assert flops.decoding(SHAPE, [7], [written], width) == shared + width * (alone - shared)


def test_a_decoder_alone_reads_its_source_once_and_needs_the_logits_of_its_end():
  shape, logits = dataclasses.replace(SHAPE, encoder_layers=0), 2 * 16 * 40
  read, whole = loops(shape, 0, 7), loops(shape, 0, 7 + 5 - 1)
  assert flops.decoding(shape, [7], [5], 1) == whole - 6 * logits
  assert flops.decoding(shape, [7], [5], 4) == read - 6 * logits + 4 * (whole - read)


def test_of_a_decoder_alone_it_is_six_times_the_parameters_and_causal_attention():
  point = mfu.MODELS["decoder"] | {"batch": 3}
  depth, width, length = point["depth"], point["width"], point["length"]
  shape = flops.Shape(0, depth, width, point["feed_forward"], point["vocabulary"], 16)
  assert 340e6 < shape.parameters < 360e6
  attention = 3 * depth * 2 * (length + 1) * width
  expected = 3 * length * (6 * shape.parameters + attention)
  assert mfu.operations(point) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("encoder_layers", [0, 2])
def test_parameters_are_the_kernels_and_the_table_of_the_model(encoder_layers):
  shape = flops.Shape(encoder_layers, 3, 16, 24, 40, 2)
  model, batch = model_of(shape), full_batch(1, 4, 4)
  params = nn.unbox(jax.eval_shape(lambda: init_params(model, 0, batch)))
  found = {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf.size
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  kernels = [size for path, size in found.items() if not path.endswith(("bias", "scale"))]
  assert sum(kernels) == shape.parameters

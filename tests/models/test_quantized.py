"""Weights in eight bits against NumPy, and runs that are opened with them."""

import os

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from tfx_jax import load
from tfx_jax.config.files import read_config
from tfx_jax.generation import batches
from tfx_jax.models.quantized import count_parameters, dequantize, quantize
from tfx_jax.run import run

# The axes that a channel is made of.
KERNELS = {
  ("token_embed", "embedding"): ((30, 8), 1),
  ("output", "kernel"): ((8, 30), 0),
  ("decoder_stack", "layers", "stacked", "attention", "query", "kernel"): ((3, 8, 2, 4), 1),
  ("decoder_stack", "layers", "stacked", "attention", "out", "kernel"): ((3, 2, 4, 8), (1, 2)),
  ("decoder_stack", "layers", "stacked", "mlp", "up", "kernel"): ((3, 8, 16), 1),
}
OTHERS = {("output", "bias"): (30,), ("norm", "scale"): (8,)}


def tree(leaves):
  found = {}
  for (*path, last), leaf in leaves.items():
    place = found
    for name in path:
      place = place.setdefault(name, {})
    place[last] = leaf
  return found


def at(params, path):
  for name in path:
    params = params[name]
  return np.asarray(params)


@pytest.fixture(scope="module")
def params():
  rng = np.random.default_rng(0)
  shapes = {path: shape for path, (shape, _) in KERNELS.items()} | OTHERS
  # Channels of very different sizes, and one that is nothing.
  leaves = {
    path: (rng.normal(size=shape) * np.exp(3 * rng.normal(size=shape[-1]))).astype(np.float32)
    for path, shape in shapes.items()
  }
  leaves["decoder_stack", "layers", "stacked", "mlp", "up", "kernel"][1, :, 5] = 0
  return tree(leaves)


def test_each_channel_is_rounded_by_its_own_scale(params):
  found = dequantize(quantize(params))
  for path, (_, axis) in KERNELS.items():
    exact = at(params, path).astype(np.float64)
    scale = np.abs(exact).max(axis=axis, keepdims=True) / 127
    expected = np.round(exact / np.where(scale, scale, 1)) * scale
    # What lies between two values may go to either.
    difference = np.abs(at(found, path) - expected)
    near = np.abs(exact - expected) > 0.499 * scale
    assert (difference <= np.where(near, 1.001 * scale, 1e-5 * np.abs(expected))).all(), path
    assert (np.abs(at(found, path) - exact) <= 0.501 * scale).all(), path
  for path in OTHERS:
    assert (at(found, path) == at(params, path)).all()


def test_it_takes_a_quarter_of_the_memory_and_no_less_parameters(params):
  small = quantize(params)
  values = at(small, ("token_embed", "embedding", "int8"))
  assert values.dtype == np.int8 and np.abs(values).max() == 127
  assert count_parameters(small) == count_parameters(params)


def test_what_is_rounded_stays_as_it_is(params):
  once = dequantize(quantize(params))
  for path in KERNELS:
    again = at(dequantize(quantize(once)), path)
    np.testing.assert_allclose(again, at(once, path), rtol=1e-5)


@pytest.fixture(scope="module")
def opened(trained):
  config = read_config(trained[1])
  config.evaluate.weights = "int8"
  return load(trained[1]), load(trained[1], config=config)


def test_a_run_generates_and_scores_as_with_the_rounded_weights(opened, monkeypatch):
  monkeypatch.setattr(batches, "FIRST_CACHE_LENGTH", 2)
  usual, small = opened
  texts, targets = ["abc", "fed ab"], ["CBA", "BA DEF"]
  before = usual.score(texts, targets)
  usual.params = dequantize(small.params)
  assert small.generate(texts) == usual.generate(texts)
  found = small.score(texts, targets)
  np.testing.assert_allclose(found, usual.score(texts, targets), rtol=1e-6)
  np.testing.assert_allclose(found, before, rtol=0.05)
  assert found != before


def test_they_are_exported(opened, tmp_path):
  usual, small = opened
  small.export(str(tmp_path / "small"), "safetensors")
  usual.export(str(tmp_path / "usual"), "safetensors")
  (name,) = (name for name in os.listdir(tmp_path / "small") if name.endswith(".safetensors"))
  small_file, usual_file = (load_file(tmp_path / which / name) for which in ("small", "usual"))
  table = next(path for path in usual_file if path.endswith("embedding"))
  assert small_file[f"{table}/int8"].nbytes * 4 == usual_file[table].nbytes
  assert small_file[f"{table}/int8"].dtype == np.int8


def test_a_model_that_others_load_is_whole(opened, tmp_path, monkeypatch):
  small, given = opened[1], []
  monkeypatch.setattr(run, "write_huggingface", lambda folder, *args: given.append(args[2]))
  small.export(str(tmp_path / "whole"))
  jax.tree.map(np.testing.assert_array_equal, given[0], dequantize(small.params))

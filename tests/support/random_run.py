"""A small model with random parameters whose outputs vary, in text and in length: fixtures."""

import types

import jax
import numpy as np
import pytest
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.generation import batches
from tfx_jax.models.parameters import EXAMPLE
from tfx_jax.training.state import plan_params

CHANGES = {
  "model.tie_output": False,
  "model.output_bias": True,
  "generate.beam_size": 4,
  "generate.num_return": 4,
  "generate.max_source_length": 24,
  "generate.max_length": 16,
  "generate.max_length_ratio": 0.5,
  "generate.batch_size": 64,
}


def random_leaf(path, leaf):
  names = [key.key for key in path]
  scale = {"kernel": 0.5, "embedding": 0.5, "bias": 0.3, "scale": 0.0}[names[-1]]
  if names[-1] == "kernel" and "attention" in "/".join(names):
    scale = 0.7
  if names == ["output", "kernel"]:
    scale = 1.0
  rng = np.random.default_rng([0, sum(map(ord, "/".join(names)))])
  value = scale * rng.normal(size=leaf.shape) + (names[-1] == "scale")
  return value.astype(np.float32)


@pytest.fixture(scope="package", autouse=True)
def short_cache():
  """Caches start with capacity for fewer tokens than outputs have here, and must grow."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(batches, "FIRST_CACHE_LENGTH", 4)
    yield


@pytest.fixture(scope="package")
def random_params():
  """Makes parameters for a model."""

  def make(model, parallel):
    shapes, _ = plan_params(model, EXAMPLE, parallel)
    return jax.tree_util.tree_map_with_path(random_leaf, shapes)

  return make


def small_run(random_params, changes, codecs=None):
  """A configuration, codecs (by default one tokenizer), mesh, parameters and generator."""
  config = make_config(CHANGES | changes)
  tokenizer = CharacterTokenizer("abcdef ")
  codecs = codecs or (tokenizer, tokenizer)
  model = builders.make_model(config, codecs)
  parallel = builders.make_parallel(config)
  return types.SimpleNamespace(
    config=config,
    tokenizer=tokenizer,
    codecs=codecs,
    model=model,
    parallel=parallel,
    layout=builders.make_layout(config),
    params=random_params(model, parallel),
    generator=builders.make_generator(config, model, codecs, parallel),
  )


@pytest.fixture(scope="package")
def small(random_params):
  """An encoder-decoder."""
  return small_run(random_params, {})


@pytest.fixture(scope="package")
def alone(random_params):
  """A decoder that goes on with texts."""
  return small_run(random_params, {"model.architecture": "decoder_only", "task.name": "text"})


@pytest.fixture(scope="package")
def texts():
  """A hundred of all lengths, in no order, some with spaces around."""
  rng = np.random.default_rng(1)
  words = ["".join(rng.choice(list("abcdef "), rng.integers(0, 23))) for _ in range(100)]
  return [word + "abcdef"[i % 6] for i, word in enumerate(words)]

"""Tiny runs with parameters at random, as of models that were trained here."""

import pathlib

import jax
import numpy as np

from tfx_jax import builders
from tfx_jax.codecs.text.loading import train_tokenizer
from tfx_jax.config import base, experiment
from tfx_jax.models.parameters import EXAMPLE
from tfx_jax.parallel import Parallel
from tfx_jax.run.run import Run
from tfx_jax.training.state import plan_state

SIZES = ("features", "num_heads", "feed_forward", "encoder_layers", "decoder_layers")
# What Marian's models are by these settings.
MODEL = {
  **{"features": 16, "num_heads": 2, "feed_forward": 24, "encoder_layers": 1, "decoder_layers": 2},
  **{"norm_placement": "post", "norm_epsilon": 1e-5, "output_bias": True, "max_positions": 64},
}


EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments"
# Experiments, with the argument that chooses the architecture: which model of transformers it is.
GIVEN_AWAY = {
  **dict.fromkeys(
    ("cnn_dailymail", "docstrings", "multi30k", "quickstart", "translate", "xsum"),
    "PegasusForConditionalGeneration",
  ),
  "dialogue:encoder_decoder": "PegasusForConditionalGeneration",
  "wmt": "MarianMTModel",
}
# What no model there has; trained with these it would be one.
KEPT = {
  "dialogsum": "model.copy_head is False, not True",
  "dialogsum:decoder_only": "model.position is 'learned', not 'sinusoidal'",
  "dialogue": "model.position is 'learned', not 'sinusoidal'",
  "scenes": "model.share_embeddings is True, not False",
  "emoji": "model.share_embeddings is True, not False",
  "image_codes": "model.architecture is 'encoder_decoder', not 'autoencoder'",
  "pictures": "model.share_embeddings is True, not False",
  "mnist": "model.use_bias is True, not False",
  "mnist:grey": "model.group_size is 1, not 4",
  "lm1b": "model.position is 'learned', not 'rotary'",
  "shakespeare": "model.use_bias is True, not False",
  "text": "model.gated is True, not False",
}


def read_experiment(name):
  """The configuration of an experiment, 'NAME' or 'NAME:ARGUMENT'."""
  stem, _, argument = name.partition(":")
  return experiment.read_experiment(f"{EXPERIMENTS / stem}.py:{argument}")


def architectures():
  """The models of the experiments that are given away, made tiny, each once, by a name."""
  found = {}
  for name in GIVEN_AWAY:
    model = read_experiment(name).model.to_dict()
    model |= {key: MODEL[key] for key in SIZES} | {"dropout": 0.0}
    if model not in found.values():
      found[name] = model
  return found


def make_config(**changes):
  """Its configuration, with changes of the model."""
  config = base()
  config.model.update(MODEL | changes)
  config.generate.update(beam_size=2, max_length=20, max_source_length=64, max_length_ratio=0.0)
  return config


def make_run(**changes):
  """The run, with changes of the model; its biases, too, are no zeros."""
  config, parallel = make_config(**changes), Parallel()
  words = [f"{a}{b}{c}" for a in "abcdef" for b in "abcdef" for c in "abcdef"]
  settings = base().tokenizer.to_dict() | {"kind": "bpe", "vocab_size": 41, "symbols": ()}
  others = {name: value for name, value in settings.items() if name not in ("joint", "path")}
  pair = (train_tokenizer(words, **others),) * 2
  model, rng = builders.make_model(config, pair), np.random.default_rng(0)
  make_state, _ = plan_state(model, _NoOptimizer, 0, EXAMPLE, parallel)
  params = jax.tree.map(
    lambda x: x + (0.2 * rng.normal(size=x.shape)).astype(np.float32), make_state().params
  )
  return Run(config, params, 0, model=model, codecs=pair, parallel=parallel)


class _NoOptimizer:
  init = staticmethod(lambda params: ())

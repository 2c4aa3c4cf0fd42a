"""Sizes of the models to time, and the experiment with their settings."""

import os
from typing import Any

import flops

EXPERIMENT = os.path.join(os.path.dirname(__file__), "..", "experiments", "multi30k.py")

# Layers of each stack, D, N and F: those of Wu et al. 2021, and the base and big models of Vaswani
# et al. 2017.
SIZES = {
  "tiny": (4, 128, 4, 256),
  "base": (6, 512, 8, 2048),
  "big": (6, 1024, 16, 4096),
}
DROPOUT = 0.1


def make_config(size: str, dtype: str, overrides: list[str]) -> Any:
  """Returns our configuration, with the dropout and the optimizer of the other libraries.

  Args:
    size: a key of `SIZES`.
    dtype: compute dtype.
    overrides: words "--config.KEY=VALUE" of a command line.
  """
  from tfx_jax.builders.validation import validate
  from tfx_jax.config.experiment import read_experiment
  from tfx_jax.config.override import override

  config = read_experiment(EXPERIMENT)
  layers, features, heads, feed_forward = SIZES[size]
  config.model.update(
    encoder_layers=layers, decoder_layers=layers, features=features, num_heads=heads,
    feed_forward=feed_forward, dropout=DROPOUT, attention_dropout=DROPOUT,
    activation_dropout=DROPOUT, dtype=dtype,
  )  # fmt: skip
  config.optimizer.settings = {}
  config.optimizer.update(
    name="adamw", learning_rate=3e-4, schedule="constant", warmup_steps=1, clip_norm=0.0
  )
  for word in overrides:
    key, _, text = word.removeprefix("--config.").partition("=")
    override(config, key, text)
  validate(config)
  return config


def shape_of(config: Any, vocab_size: int) -> flops.Shape:
  """Returns the sizes of a configuration's model."""
  c = config.model
  alone = c.architecture == "decoder_only"
  return flops.Shape(
    encoder_layers=0 if alone else c.encoder_layers,
    decoder_layers=c.decoder_layers,
    features=c.features,
    feed_forward=c.feed_forward,
    vocab_size=vocab_size,
    num_heads=c.num_heads,
  )

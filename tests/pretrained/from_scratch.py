"""A tiny run with parameters at random, as of a model that was trained here."""

import jax
import numpy as np

from tfx_jax import build
from tfx_jax.config import base
from tfx_jax.data.tokenizer import train_tokenizer
from tfx_jax.parallel import Parallel
from tfx_jax.run import EXAMPLE, Run
from tfx_jax.training.state import plan_state

# What Marian's models are by these settings.
MODEL = {
  **{"features": 16, "num_heads": 2, "feed_forward": 24, "encoder_layers": 1, "decoder_layers": 2},
  **{"norm_placement": "post", "norm_epsilon": 1e-5, "output_bias": True, "max_positions": 64},
}


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
  model, rng = build.make_model(config, pair), np.random.default_rng(0)
  make_state, _ = plan_state(model, _NoOptimizer, 0, EXAMPLE, parallel)
  params = jax.tree.map(
    lambda x: x + (0.2 * rng.normal(size=x.shape)).astype(np.float32), make_state().params
  )
  return Run(config, params, 0, model=model, tokenizers=pair, parallel=parallel)


class _NoOptimizer:
  init = staticmethod(lambda params: ())

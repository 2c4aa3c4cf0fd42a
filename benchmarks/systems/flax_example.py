"""The translation example of flax, `examples/wmt` in its source archive: its own code is timed."""

import importlib
import os
import sys
import unittest.mock
from typing import Any

FOLDER = "FLAX_WMT"
# What its files import and neither a step nor a search calls; it would bring TensorFlow.
UNNEEDED = ("tensorflow", "clu", "input_pipeline", "bleu")


def load() -> Any:
  """The example's module `train`; it has `models` and `decode`."""
  from tfx_jax import builders
  from tfx_jax.runtime import compilation_cache

  # It asks whether there is a TensorFlow: before there seems to be one.
  importlib.import_module("flax.training.checkpoints")
  compilation_cache.use(os.path.join(builders.cache_folder(), "xla"))
  # Our `decode.py` lies beside this package, and the example says "import decode" of its own.
  sys.path.insert(0, os.environ[FOLDER])
  with unittest.mock.patch.dict(
    sys.modules, {name: unittest.mock.MagicMock() for name in UNNEEDED}
  ):
    return importlib.import_module("train")


def make_config(
  example: Any, size: tuple[int, int, int, int], vocab_size: int, dropout: float
) -> Any:
  """The example's configuration of a model with one table.

  Args:
    example: what `load` gives.
    size: layers of each stack, D, N, F.
    vocab_size: V.
    dropout: rate at all sites.
  """
  layers, features, heads, feed_forward = size
  return example.models.TransformerConfig(
    vocab_size=vocab_size,
    output_vocab_size=vocab_size,
    share_embeddings=True,
    logits_via_embedding=True,
    emb_dim=features,
    qkv_dim=features,
    num_heads=heads,
    num_layers=layers,
    mlp_dim=feed_forward,
    max_len=512,
    dropout_rate=dropout,
    attention_dropout_rate=dropout,
  )


def init_params(example: Any, config: Any) -> Any:
  """Random weights."""
  import jax
  import jax.numpy as jnp

  model = example.models.Transformer(config.replace(deterministic=True))
  tokens = jnp.ones((1, 8), jnp.int32)
  return jax.jit(model.init)(jax.random.key(0), tokens, tokens)["params"]


def facts(params: Any) -> dict[str, Any]:
  """What a report tells of it."""
  import flax
  import jax

  return {
    "flax": flax.__version__,
    "jax": jax.__version__,
    "platform": jax.default_backend(),
    "parameters": sum(x.size for x in jax.tree.leaves(params)),
    "malloc": os.environ.get("MALLOC_MMAP_MAX_") == "0",
  }

"""Flax's translation example, `examples/wmt` in its source archive, run unchanged."""

import importlib
import os
import sys
import unittest.mock
from typing import Any

FOLDER = "FLAX_WMT"
# Modules that its files import, but a step or a search does not use; they would need TensorFlow.
UNNEEDED = ("tensorflow", "clu", "input_pipeline", "bleu")


def load() -> Any:
  """Returns the example's module `train`, which has `models` and `decode`."""
  from tfx_jax import builders
  from tfx_jax.runtime import compilation_cache

  # This checks if TensorFlow is installed, so it must come before the replacements.
  importlib.import_module("flax.training.checkpoints")
  compilation_cache.use(builders.cache_folder())
  # `import decode` in the example must not find our `benchmarks/decode.py`.
  sys.path.insert(0, os.environ[FOLDER])
  with unittest.mock.patch.dict(
    sys.modules, {name: unittest.mock.MagicMock() for name in UNNEEDED}
  ):
    return importlib.import_module("train")


def make_config(
  example: Any, size: tuple[int, int, int, int], vocab_size: int, dropout: float
) -> Any:
  """Returns the example's configuration of a model with one shared embedding table.

  Args:
    example: the module that `load` returns.
    size: layers of each stack, D, N, F.
    vocab_size: V.
    dropout: dropout rate, everywhere the same.
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
  """Returns random weights."""
  import jax
  import jax.numpy as jnp

  model = example.models.Transformer(config.replace(deterministic=True))
  tokens = jnp.ones((1, 8), jnp.int32)
  return jax.jit(model.init)(jax.random.key(0), tokens, tokens)["params"]


def facts(params: Any) -> dict[str, Any]:
  """Returns facts about the example, for reports."""
  import flax
  import jax

  return {
    "flax": flax.__version__,
    "jax": jax.__version__,
    "platform": jax.default_backend(),
    "parameters": sum(x.size for x in jax.tree.leaves(params)),
    "malloc": os.environ.get("MALLOC_MMAP_MAX_") == "0",
  }

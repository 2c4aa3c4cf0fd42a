"""From the configuration to the sizes that a step's cost is reckoned from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from tfx_jax.builders.data import make_layout
from tfx_jax.codecs.text.tokenizer import ByteTokenizer
from tfx_jax.cost import Size
from tfx_jax.layers.embed import padded_size
from tfx_jax.training.objective import default_chunks


@dataclasses.dataclass(frozen=True)
class PlannedTokenizer:
  """What a model needs to know of a tokenizer that is not made yet."""

  vocab_size: int


def planned_tokenizers(config: ConfigDict) -> tuple[PlannedTokenizer, PlannedTokenizer]:
  """Those that the configuration asks for, as large as they may become."""
  is_bytes = config.tokenizer.kind == "bytes"
  size = ByteTokenizer.vocab_size if is_bytes else config.tokenizer.vocab_size
  return PlannedTokenizer(size), PlannedTokenizer(size)


def make_size(config: ConfigDict, tokenizers: tuple[Any, Any], mesh: Mapping[str, int]) -> Size:
  """The sizes of the model and its batch, on a mesh of these sizes."""
  model, data, train = config.model, config.data, config.train
  both = model.architecture == "encoder_decoder"
  source, target = (padded_size(t.vocab_size, model.vocab_multiple) for t in tokenizers)
  own = {field.name for field in dataclasses.fields(Size)}
  length = make_layout(config).window or data.target_length
  # Each row is read under two dropout masks.
  rows = data.batch_size * (2 if train.r_drop else 1)
  shards = mesh["slices"] * mesh["data"] * mesh["fsdp"]
  chunks = default_chunks(rows // train.microbatches, length, shards, mesh["sequence"])
  computed = {
    "batch_size": rows,
    "source_length": data.source_length if both else 0,
    "target_length": length,
    "source_vocab": 0 if model.share_embeddings or not both else source,
    "target_vocab": target,
    "num_kv_heads": model.num_kv_heads or model.num_heads,
    "head_dim": model.head_dim or model.features // model.num_heads,
    "dtype_bytes": 2 if model.dtype == "bfloat16" else 4,
    "loss_chunks": train.loss_chunks or chunks,
    "microbatches": train.microbatches,
  }
  return Size(**{key: value for key, value in model.items() if key in own} | computed)

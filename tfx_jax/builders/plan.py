"""From the configuration to the sizes that a step's cost is estimated from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from tfx_jax.builders.data import make_layout
from tfx_jax.builders.image_codes import codes_config, image_frames
from tfx_jax.builders.sides import side_grids, side_kinds
from tfx_jax.codecs.codec import Element, Tokens
from tfx_jax.codecs.special_tokens import SPECIAL_PIECES
from tfx_jax.codecs.text.tokenizer import ByteTokenizer
from tfx_jax.cost import Size
from tfx_jax.errors import UserError
from tfx_jax.layers.embed import padded_size
from tfx_jax.layers.quantize import count_codes
from tfx_jax.training.objective import default_chunks


@dataclasses.dataclass(frozen=True)
class PlannedCodec:
  """A codec that does not exist yet, as far as a model depends on it."""

  element: Element


def planned_codecs(config: ConfigDict) -> tuple[PlannedCodec, PlannedCodec]:
  """Returns the codecs of the configuration, with the largest vocabularies they may have."""
  kinds, codes = side_kinds(config), config.image.codes
  if config.image.path and "image" in kinds:
    codes = count_codes(codes_config(config).model.levels)
  is_bytes = config.tokenizer.kind == "bytes"
  sizes = {
    "text": ByteTokenizer.vocab_size if is_bytes else config.tokenizer.vocab_size,
    "image": len(SPECIAL_PIECES) + codes,
  }
  if config.model.architecture == "decoder_only" and len(set(kinds)) == 2:
    sizes["image"] = sizes["text"] + codes
  frames = image_frames(config).element
  source, target = (
    PlannedCodec(frames if kind == "image" and not codes else Tokens(sizes[kind])) for kind in kinds
  )
  return source, target


def make_size(config: ConfigDict, codecs: tuple[Any, Any], mesh: Mapping[str, int]) -> Size:
  """Returns the sizes of the model and its batch, on a mesh of these sizes.

  Raises:
    UserError: for a model of frames.
  """
  if not all(isinstance(codec.element, Tokens) for codec in codecs):
    raise UserError("image.codes=0: the cost of models that read frames is not estimated")
  model, data, train = config.model, config.data, config.train
  both = model.architecture != "decoder_only"
  source, target = (padded_size(codec.element.vocab_size, model.vocab_multiple) for codec in codecs)
  learned = _learned_positions(config)
  fields = {field.name for field in dataclasses.fields(Size)}
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
    "target_vocab": target if both else max(source, target),
    "source_positions": learned[0] if both else 0,
    "target_positions": learned[1] if both else sum(learned),
    "num_kv_heads": model.num_kv_heads or model.num_heads,
    "head_dim": model.head_dim or model.features // model.num_heads,
    "dtype_bytes": 2 if model.dtype == "bfloat16" else 4,
    "loss_chunks": train.loss_chunks or chunks,
    "microbatches": train.microbatches,
  }
  return Size(**{key: value for key, value in model.items() if key in fields} | computed)


def _learned_positions(config: ConfigDict) -> tuple[int, int]:
  """Returns the number of learned vectors for positions of sources and of targets.

  A decoder-only model has the sum: those of texts, and those of pictures.
  """
  kind, texts = config.model.position, config.model.max_positions
  both = config.model.architecture != "decoder_only"
  if kind == "learned":
    return (texts, texts) if both else (0, texts)
  if not kind.endswith("_2d"):
    return 0, 0
  # Rotary positions in pictures leave those of texts to learned ones where both share a sequence.
  counts = [
    texts * (kind == "learned_2d" or not both)
    if grid is None
    else (grid.rows + 1 + grid.columns) * (kind == "learned_2d")
    for grid in side_grids(config)
  ]
  return counts[0], counts[1]

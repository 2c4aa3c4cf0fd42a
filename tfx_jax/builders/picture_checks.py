"""Checks of the settings of pictures: of codes, frames, groups and learned codes."""

from typing import Any

from ml_collections import ConfigDict

from tfx_jax.builders.named import value_of
from tfx_jax.builders.sides import side_kinds, side_lengths
from tfx_jax.errors import UserError
from tfx_jax.layers.quantize import count_codes

_MOST_CODES = 1 << 20


def check_pictures(config: ConfigDict) -> None:
  """Checks settings of tasks with pictures: some must have one value, some be large enough.

  Raises:
    UserError: naming the key.
  """
  both = config.model.architecture != "decoder_only"
  needed: dict[str, float] = {"model.copy_head": False, "data.end_sources": True}
  if both:
    needed["model.share_embeddings"] = False
  # Only texts have segmentations to draw from.
  for side, kind in zip(("source", "target"), side_kinds(config), strict=True):
    if kind != "text":
      needed[f"data.{side}_sampling"] = 0.0
  for key, value in needed.items():
    if value_of(config, key) != value:
      raise UserError(f"task.name='{config.task.name}' needs {key}={value!r}: it has pictures")
  codes = config.image.codes or config.image.path
  if not codes or config.task.name == "reconstruct":
    _check_frames(config)
  source, target = side_lengths(config)
  # Tokens have an end, frames have none; a decoder-only model is also given a start.
  end = 1 if codes else 0
  least = {"data.target_length": target + end} if target else {}
  if source:
    read = source + (end if both else 2)
    least |= {"data.source_length": source + end, "generate.max_source_length": read}
  for key, length in least.items():
    if value_of(config, key) < length:
      raise UserError(
        f"{key}={value_of(config, key)}: use {length} or more, pictures have {source or target} "
        f"patches{' and an end' if end else ''} (image.size, image.patch)"
      )


def _check_frames(config: ConfigDict) -> None:
  """Checks settings of models that read pictures as frames."""
  if config.model.architecture == "autoencoder":
    return
  source, target = side_kinds(config)
  if source == target == "image":
    raise UserError(f"task.name='{config.task.name}' needs model.architecture='autoencoder'")
  if target == "image" or config.model.architecture == "decoder_only":
    raise UserError(
      f"image.codes=0 is for an encoder that reads pictures: task.name='{config.task.name}' with "
      f"model.architecture='{config.model.architecture}' needs codes"
    )


def check_groups(config: ConfigDict) -> None:
  """Checks settings of blocks of patches, and of groups of tokens that share a position.

  Raises:
    UserError: naming the key.
  """
  image, size = config.image, config.model.group_size
  patches = image.block[0] * image.block[1]
  pictured = side_kinds(config)[1] == "image"
  if patches > 1 and not (pictured and image.codes and not image.path and size == patches):
    raise UserError(
      f"image.block={tuple(image.block)} is for pictures that are drawn with a codebook, and needs "
      f"model.group_size={patches}"
    )
  if size == 1:
    return
  needed = {
    "model.architecture": "encoder_decoder",
    "model.tie_output": False,
    "model.share_embeddings": False,
    "model.copy_head": False,
    "model.zero_start": False,
    "model.embedding_norm": False,
    "generate.alignments": False,
    "generate.coverage_penalty": 0.0,
  }
  for key, value in needed.items():
    if value_of(config, key) != value:
      raise UserError(f"model.group_size={size} needs {key}={value!r}")
  if config.data.target_length % size:
    raise UserError(
      f"data.target_length={config.data.target_length} is not a multiple of model.group_size={size}"
    )


def check_autoencoder(config: ConfigDict) -> None:
  """Checks settings of models that learn codes.

  Raises:
    UserError: naming the key.
  """
  needed = {
    "image.codes": 0,
    "image.path": "",
    "lora.rank": 0,
    "train.r_drop": 0.0,
    "train.token_dropout": 0.0,
    "data.source_dropout": 0.0,
    "generate.alignments": False,
    "generate.ensemble": (),
    "evaluate.weights": "float32",
  }
  for key, value in needed.items():
    if type(value)(value_of(config, key)) != value:
      raise UserError(f"model.architecture='autoencoder' needs {key}={value!r}")
  if side_kinds(config) != ("image", "image"):
    raise UserError(
      f"model.architecture='autoencoder' needs task.name='reconstruct', not '{config.task.name}'"
    )


def check_levels(levels: Any) -> None:
  """Checks `model.levels`.

  Raises:
    UserError: naming the key.
  """
  are_numbers = isinstance(levels, tuple | list) and all(
    isinstance(level, int) and not isinstance(level, bool) and 2 <= level <= 256 for level in levels
  )
  if not are_numbers or not levels or count_codes(levels) > _MOST_CODES:
    raise UserError(
      f"model.levels={levels!r}: use numbers from 2 to 256, such as (8, 5, 5, 5), whose product is "
      f"at most {_MOST_CODES:,}"
    )

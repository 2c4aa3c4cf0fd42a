"""Checks of a configuration, before any time is spent on it."""

from collections.abc import Iterable, Mapping

from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.builders.named import value_of
from tfx_jax.builders.picture_checks import (
  check_autoencoder,
  check_groups,
  check_levels,
  check_pictures,
)
from tfx_jax.codecs.image.grid import check_patch
from tfx_jax.common.picture_files import FITS, MODES
from tfx_jax.common.ranges import check_range
from tfx_jax.config.defaults import STRUCTURED
from tfx_jax.config.defaults import base as base_config
from tfx_jax.data.truncation import LONG_SOURCES
from tfx_jax.errors import UserError, nearest
from tfx_jax.layers.block import NORM_PLACEMENTS
from tfx_jax.layers.feed_forward import ACTIVATIONS
from tfx_jax.layers.stack import REMAT_POLICIES
from tfx_jax.metrics.perplexity import LOSS_METRICS
from tfx_jax.models.lora import parse_target
from tfx_jax.models.quantized import WEIGHTS
from tfx_jax.training.checkpoints.selection import SELECTIONS
from tfx_jax.training.optimizer import STATE_DTYPES, arguments

CHOICES = {
  "data.long_sources": LONG_SOURCES,
  "image.fit": FITS,
  "model.architecture": builders.ARCHITECTURES,
  "model.activation": ACTIVATIONS,
  "model.norm": builders.NORMS,
  "model.norm_placement": NORM_PLACEMENTS,
  "model.position": builders.POSITIONS,
  "model.remat": REMAT_POLICIES,
  "model.dtype": (*builders.DTYPES, "auto"),
  "optimizer.state_dtype": STATE_DTYPES,
  "evaluate.split": builders.SPLITS,
  "evaluate.weights": WEIGHTS,
}


def validate(config: ConfigDict) -> None:
  """Checks keys, types and values as far as that is possible without data.

  Raises:
    UserError: naming the key.
  """
  _check_keys(config, base_config(), "")
  for key, choices in CHOICES.items():
    _choice(key, value_of(config, key), choices)
  _check_heads(config.model)
  builders.make_task(config)
  check_patch(config.image.size, config.image.patch, config.image.block)
  if config.image.channels not in MODES:
    raise UserError(f"image.channels={config.image.channels}: use 1, 3 or 4")
  check_levels(config.model.levels)
  _check_architecture(config)
  _check_lengths(config)
  _check_chunks(config)
  _check_batch(config)
  if config.model.share_embeddings and not config.tokenizer.joint:
    raise UserError("model.share_embeddings=True needs tokenizer.joint=True")
  _check_copying(config)
  _check_best_metric(config)
  which = config.evaluate.checkpoint
  if which not in SELECTIONS and not which.isdigit():
    raise UserError(f"evaluate.checkpoint='{which}': use {', '.join(SELECTIONS)} or a step")
  if which == "ema" and not config.train.ema_decay:
    raise UserError("evaluate.checkpoint='ema' needs train.ema_decay above 0")
  if which == "average" and config.evaluate.average_last > config.train.keep_checkpoints:
    raise UserError(
      f"evaluate.average_last={config.evaluate.average_last} is more than "
      f"train.keep_checkpoints={config.train.keep_checkpoints}"
    )
  check_guidance(config, builders.make_generate_settings(config).guidance)
  layer, layers = config.generate.alignment_layer, config.model.decoder_layers
  if not -layers <= layer < layers:
    raise UserError(
      f"generate.alignment_layer={layer}: use {-layers} to {layers - 1}, "
      f"for model.decoder_layers={layers}"
    )
  _check_optimizer(config)
  for target in config.lora.targets:
    parse_target(target)
  builders.rotary_scaling(config.model.rotary_scaling)
  builders.windows(config.model.windows, config.model.decoder_layers)


def check_guidance(config: ConfigDict, guidance: float) -> None:
  """Checks that a model has learned what an empty source means.

  Raises:
    UserError: for guidance of a run whose sources were never empty in training.
  """
  if guidance != 1 and not config.data.source_dropout and builders.make_task(config).has_source:
    raise UserError(
      f"generate.guidance={guidance}: this run has data.source_dropout=0, so it has not learned "
      "what an empty source means; train with 0.1"
    )


def _check_batch(config: ConfigDict) -> None:
  rows, parts = config.data.batch_size, config.train.microbatches
  if rows % parts:
    raise UserError(f"train.microbatches={parts} does not divide data.batch_size={rows}")
  rows //= parts
  if config.model.attention_rows and rows % config.model.attention_rows:
    raise UserError(
      f"model.attention_rows={config.model.attention_rows} does not divide the {rows} rows of "
      "data.batch_size / train.microbatches"
    )


def _check_keys(config: Mapping, base: Mapping, prefix: str) -> None:
  for key, value in config.items():
    if key not in base:
      raise UserError(f"unknown config key '{prefix}{key}'{nearest(key, base)}")
    expected = base[key]
    if f"{prefix}{key}" in STRUCTURED:
      continue  # checked by what reads it
    if isinstance(expected, ConfigDict) != isinstance(value, ConfigDict):
      raise UserError(f"config key '{prefix}{key}' is {'not a' if prefix else 'a'} section")
    if isinstance(expected, ConfigDict):
      _check_keys(value, expected, f"{prefix}{key}.")
    elif not _same_type(value, expected):
      if isinstance(expected, tuple):
        raise UserError(f"{prefix}{key}={value!r}: use a tuple of strings")
      raise UserError(
        f"{prefix}{key}={value!r} is {type(value).__name__}, not {type(expected).__name__}"
      )
    elif isinstance(expected, int | float) and not isinstance(expected, bool):
      check_range(f"{prefix}{key}", value)
  for key in base:
    if key not in config:
      raise UserError(f"config key '{prefix}{key}' is missing; start from tfx_jax.config.base()")


def _same_type(value: object, expected: object) -> bool:
  if isinstance(expected, bool) or isinstance(value, bool):
    return isinstance(value, bool) and isinstance(expected, bool)
  if isinstance(expected, float):
    return isinstance(value, int | float)
  if isinstance(expected, tuple):
    return isinstance(value, tuple | list) and all(isinstance(item, str) for item in value)
  return isinstance(value, type(expected))


def _check_heads(model: ConfigDict) -> None:
  if not model.head_dim and model.features % model.num_heads:
    raise UserError(
      f"model.features={model.features} is not a multiple of model.num_heads={model.num_heads}; "
      "change one, or set model.head_dim"
    )
  if model.num_kv_heads and model.num_heads % model.num_kv_heads:
    raise UserError(
      f"model.num_kv_heads={model.num_kv_heads} does not divide model.num_heads={model.num_heads}"
    )
  head_dim = model.head_dim or model.features // model.num_heads
  is_rotary = model.position in ("rotary", "rotary_2d")
  if model.position == "rotary" and head_dim % 2:
    raise UserError(f"model.position='rotary' needs an even model.head_dim, not {head_dim}")
  if model.position == "rotary_2d" and head_dim % 4:
    raise UserError(f"model.position='rotary_2d': model.head_dim={head_dim} is no multiple of 4")
  if is_rotary and model.rotary_base <= 1:
    raise UserError(f"model.rotary_base={model.rotary_base}: use more than 1")
  if model.position == "sinusoidal" and model.features % 2:
    raise UserError("model.position='sinusoidal' needs an even model.features")
  if model.position == "bucket" and not 4 <= model.num_buckets < 2 * model.max_distance:
    raise UserError(
      f"model.num_buckets={model.num_buckets}: use 4 or more, and fewer than two times "
      f"model.max_distance={model.max_distance}"
    )


def _check_architecture(config: ConfigDict) -> None:
  """Checks settings that only an encoder-decoder or only a decoder-only model supports."""
  alone = config.model.architecture == "decoder_only"
  if config.data.source_dropout and not (
    config.data.end_sources and builders.make_task(config).has_source
  ):
    raise UserError(
      f"data.source_dropout={config.data.source_dropout} needs a task with sources, and "
      "data.end_sources=True: an empty source is an end alone"
    )
  if config.data.stream and (not alone or builders.make_task(config).has_source):
    raise UserError(
      "data.stream=True needs model.architecture='decoder_only' and a task without sources, "
      "such as task.name='text'"
    )
  if not config.tokenizer.joint and not builders.make_task(config).has_source:
    raise UserError(f"task.name='{config.task.name}' needs tokenizer.joint=True")
  if "image" in builders.side_kinds(config):
    check_pictures(config)
  elif config.model.position.endswith("_2d"):
    raise UserError(
      f"model.position='{config.model.position}' is for tasks with pictures, not "
      f"task.name='{config.task.name}': leave out _2d"
    )
  if config.model.architecture == "masked":
    _check_masked(config)
  if config.model.architecture == "autoencoder":
    check_autoencoder(config)
  check_groups(config)
  if not alone:
    return
  if not config.tokenizer.joint:
    raise UserError("model.architecture='decoder_only' needs tokenizer.joint=True")
  for key in ("coverage_penalty", "alignments"):
    if config.generate[key]:
      raise UserError(
        f"generate.{key}={config.generate[key]} uses the decoder's attention to the source, "
        "which needs model.architecture='encoder_decoder'"
      )


def _check_masked(config: ConfigDict) -> None:
  """Checks settings of models that predict masked tokens."""
  needed = {
    "model.copy_head": False,
    "model.zero_start": False,
    "model.windows": (),
    "train.r_drop": 0.0,
    "train.token_dropout": 0.0,
    "data.end_sources": True,
    "generate.alignments": False,
    "generate.ensemble": (),
  }
  for key, value in needed.items():
    if type(value)(value_of(config, key)) != value:
      raise UserError(f"model.architecture='masked' needs {key}={value!r}")
  if not builders.make_task(config).has_source:
    raise UserError(
      f"model.architecture='masked' needs a task with sources, not '{config.task.name}'"
    )


def _choice(key: str, value: str, choices: Iterable[str]) -> None:
  if value not in choices:
    raise UserError(f"{key}='{value}'{nearest(value, choices)}")


def _check_lengths(config: ConfigDict) -> None:
  """Checks that no sequence is longer than learned positions."""
  kinds = builders.side_kinds(config)
  if config.model.position == "learned_2d" or (
    config.model.position == "rotary_2d" and config.model.architecture == "decoder_only"
  ):
    # Of pictures, rows and columns have positions.
    keys = [
      f"data.{side}_length"
      for side, kind in zip(("source", "target"), kinds, strict=True)
      if kind == "text"
    ]
    keys += ["generate.max_source_length"] if kinds[0] == "text" else []
    keys += ["generate.max_length"] if kinds[1] == "text" else []
    lengths = {key: value_of(config, key) for key in keys}
  elif config.model.position != "learned":
    return
  elif window := builders.make_layout(config).window:
    prompt, length = min(config.generate.max_source_length, window), config.generate.max_length
    output = "generate.max_length"
    if pictured := builders.side_lengths(config)[1]:
      output, length = "the tokens of a picture", pictured + 1
    lengths = {
      "the length of a row": window,
      f"generate.max_source_length + {output}": prompt + length,
    }
  else:
    keys = [f"data.{side}_length" for side in ("source", "target")]
    keys += ["generate.max_source_length"]
    if not builders.side_lengths(config)[1]:
      keys += ["generate.max_length"]
    lengths = {key: value_of(config, key) for key in keys}
  for name, length in lengths.items():
    if length > config.model.max_positions:
      raise UserError(
        f"{name}={length} is more than model.max_positions={config.model.max_positions}"
      )


def _check_copying(config: ConfigDict) -> None:
  """Checks the settings of a copy head, which needs one vocabulary for source and target."""
  if not config.model.copy_head:
    return
  if config.model.architecture != "encoder_decoder" or not config.tokenizer.joint:
    raise UserError(
      "model.copy_head=True needs model.architecture='encoder_decoder' and tokenizer.joint=True"
    )
  if config.train.z_loss:
    # Its logits are log-probabilities, log(Z) is 0.
    raise UserError(f"train.z_loss={config.train.z_loss} has no effect with model.copy_head=True")


def _check_chunks(config: ConfigDict) -> None:
  chunks = config.train.loss_chunks or 1
  length = builders.make_layout(config).window or config.data.target_length
  if length % chunks:
    raise UserError(f"train.loss_chunks={chunks} does not divide a row's {length} target tokens")


def _check_best_metric(config: ConfigDict) -> None:
  """Checks that the best metric will be computed; the names of a user's metric are unknown."""
  name, metrics = config.train.best_metric, config.task.metrics
  if name in LOSS_METRICS:
    return
  if not any(":" in metric for metric in metrics):
    _choice("train.best_metric", name.split("/")[0], (*LOSS_METRICS, *metrics))
  if not config.train.decode_every:
    raise UserError(f"train.best_metric='{name}' needs train.decode_every above 0")


def _check_optimizer(config: ConfigDict) -> None:
  """Checks the optimizer's settings; those that it would not read must have their defaults."""
  ours = ("name", "schedule", "learning_rate", "warmup_steps", "final_share", "clip_norm")
  ours += ("state_dtype", "settings", "groups")
  takes, defaults = arguments(config.optimizer.name), base_config().optimizer
  for key, value in config.optimizer.items():
    if key not in takes and key not in ours and value not in (0, defaults[key]):
      raise UserError(
        f"optimizer.{key}={value} has no effect: optax.{config.optimizer.name} takes no {key}"
      )
  builders.make_optimization(config)

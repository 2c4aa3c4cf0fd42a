"""Autoencoders of pictures that were trained here, as codecs of other runs."""

import hashlib
import io
import os
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from tfx_jax.builders.mesh import make_parallel
from tfx_jax.builders.model import example_of, make_model
from tfx_jax.builders.training import state_settings
from tfx_jax.codecs.image.frames import PatchFrames
from tfx_jax.codecs.image.learned import LearnedCodec
from tfx_jax.common.json_object import JsonObject
from tfx_jax.config import files as config_files
from tfx_jax.config.defaults import base
from tfx_jax.errors import MissingFile, UserError
from tfx_jax.layers.quantize import count_codes
from tfx_jax.models.autoencoder import AutoencoderModel
from tfx_jax.models.model import Params, SourceBatch
from tfx_jax.training.checkpoints.selection import restore_params
from tfx_jax.training.state import plan_params

_ARRAYS = "autoencoder.npz"
# Values that are encoded at a time; one shape for all calls.
_ROWS = 32
# Sections of a configuration that decide what an autoencoder computes.
_SECTIONS = ("image", "model")


class TrainedAutoencoder:
  """A trained autoencoder, as `codecs/image/learned.py` needs it.

  Args:
    config: its configuration.
    params: its parameters.

  Attributes:
    num_codes: number of different codes.
    fingerprint: a hash of the configuration's `image` and `model` sections and of the parameters.
  """

  def __init__(self, config: ConfigDict, params: Params) -> None:
    self._config, self._params = config, params
    self.num_codes = count_codes(config.model.levels)
    codec = image_frames(config)
    model = cast(AutoencoderModel, make_model(config, (codec, codec)))

    def encode(params: Params, frames: jax.Array) -> jax.Array:
      return model.bind({"params": params}).encode(_whole(*frames.shape[:2]) | {"inputs": frames})

    def decode(params: Params, codes: jax.Array) -> jax.Array:
      return model.bind({"params": params}).decode(codes, _whole(*codes.shape))

    self._encode, self._decode = jax.jit(encode), jax.jit(decode)
    digest = hashlib.blake2b(repr(self._facts()).encode(), digest_size=16)
    for name, array in sorted(self._flat().items()):
      digest.update(name.encode() + array.tobytes())
    self.fingerprint = digest.hexdigest()

  def encode(self, frames: np.ndarray) -> np.ndarray:
    """Returns the codes of whole values: float32 [N,n,C] -> int32 [N,n]."""
    return self._by_rows(self._encode, frames)

  def decode(self, codes: np.ndarray) -> np.ndarray:
    """Returns the frames of whole values: int32 [N,n] -> float32 [N,n,C]."""
    return self._by_rows(self._decode, codes)

  def saved(self) -> tuple[JsonObject, Mapping[str, bytes]]:
    """Returns what it can be made from again: facts, and contents of files by name."""
    arrays = io.BytesIO()
    np.savez(arrays, **self._flat())
    return self._facts(), {_ARRAYS: arrays.getvalue()}

  def _facts(self) -> JsonObject:
    return {name: self._config[name].to_dict() for name in _SECTIONS}

  def _flat(self) -> dict[str, Any]:
    flat = traverse_util.flatten_dict(self._params, sep="/")
    return {name: np.asarray(array) for name, array in flat.items()}

  def _by_rows(self, function: jax.stages.Wrapped, values: np.ndarray) -> np.ndarray:
    """Returns the results of rows, computed `_ROWS` at a time."""
    results = []
    for start in range(0, len(values), _ROWS):
      rows = values[start : start + _ROWS]
      filled = np.concatenate([rows, np.zeros((_ROWS - len(rows), *rows.shape[1:]), rows.dtype)])
      results.append(np.asarray(function(self._params, filled))[: len(rows)])
    return np.concatenate(results)


def image_frames(config: ConfigDict) -> PatchFrames:
  """Returns the codec of pictures as frames."""
  return PatchFrames(config.image.size, config.image.patch, config.image.channels)


def codes_config(config: ConfigDict) -> ConfigDict:
  """Returns the configuration of the autoencoder in `image.path`.

  Raises:
    UserError: if there is none, or its pictures are not those of `config`.
  """
  path = config.image.path
  trained = config_files.read_config(path)
  if trained is None:
    raise MissingFile(
      f"image.path={path} holds no run: train one by --config=experiments/image_codes.py"
    )
  if trained.model.architecture != "autoencoder":
    raise UserError(
      f"image.path={path} holds a run of model.architecture='{trained.model.architecture}', not "
      "'autoencoder'"
    )
  for key in ("size", "patch", "channels"):
    ours, theirs = (c.image[key] for c in (config, trained))
    if ours != theirs and (key == "channels" or tuple(ours) != tuple(theirs)):
      raise UserError(f"image.{key}={ours}: the codes of image.path={path} have {theirs}")
  return trained


def trained_codes(config: ConfigDict) -> LearnedCodec:
  """Returns the codec of the autoencoder in `image.path`.

  Raises:
    UserError: if there is none that is trained, or its pictures are not those of `config`.
  """
  trained = codes_config(config)
  codec = image_frames(trained)
  trained.mesh = config.mesh
  parallel = make_parallel(trained)
  shapes, shardings = plan_params(
    make_model(trained, (codec, codec)), example_of((codec, codec)), parallel
  )
  params, _ = restore_params(
    config.image.path,
    trained.evaluate.checkpoint,
    shapes,
    shardings,
    average_last=trained.evaluate.average_last or trained.train.keep_checkpoints,
    ema=trained.train.ema_decay > 0,
    settings=state_settings(trained),
  )
  return LearnedCodec(codec, TrainedAutoencoder(trained, parallel.fetch(params)))


def make_learned(folder: str, spec: JsonObject) -> LearnedCodec:
  """Makes a codec from a folder that it was saved to, and its description; see `read_codec`."""
  config = base()
  for name in _SECTIONS:
    config[name].update(spec[name])
  with np.load(os.path.join(folder, _ARRAYS), allow_pickle=False) as arrays:
    params = traverse_util.unflatten_dict(dict(arrays), sep="/")
  return LearnedCodec(image_frames(config), TrainedAutoencoder(config, params))


def _whole(rows: int, length: int) -> SourceBatch:
  """Returns the segments and positions of whole values."""
  positions = jax.lax.broadcasted_iota("int32", (rows, length), 1)
  return SourceBatch(inputs_segments=positions * 0 + 1, inputs_positions=positions)

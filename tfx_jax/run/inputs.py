"""Inputs of a run, as people give them: texts, pictures, or paths of pictures."""

import os
from collections.abc import Iterable

import numpy as np
from PIL import Image

from tfx_jax.codecs.codec import AnyValue, Codec
from tfx_jax.common.picture_files import Picture, fit, pixels_of, read_picture
from tfx_jax.errors import UserError, shown
from tfx_jax.generation.inputs import PictureCodec, as_list, as_texts, is_picture


def read_inputs(
  codec: Codec, name: str, inputs: Iterable[AnyValue], how: str = "exact"
) -> list[AnyValue]:
  """Returns inputs as a codec encodes them.

  Args:
    codec: the codec of sources.
    name: name of the parameter, for errors.
    how: treatment of pictures of another size, `image.fit`.
    inputs: texts; or pictures: uint8 [H,W,C], images of Pillow, or paths of files.

  Raises:
    UserError: for an input of another type, or a file that cannot be read.
  """
  if not is_picture(codec):
    return as_texts(name, inputs)
  values = enumerate(as_list(name, inputs, "pictures"))
  return [_as_picture(codec, f"{name}[{number}]", value, how) for number, value in values]


def _as_picture(codec: PictureCodec, name: str, value: AnyValue, how: str) -> Picture:
  if isinstance(value, np.ndarray):
    return value
  if isinstance(value, Image.Image):
    return fit(pixels_of(value, name), codec.shape, how, name)
  if not isinstance(value, str | os.PathLike):
    raise UserError(f"{name}={shown(value)}: use a picture, uint8 [H,W,C], or the path of one")
  path = os.fspath(value)
  return fit(read_picture(path), codec.shape, how, path)

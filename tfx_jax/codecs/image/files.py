"""Files of pictures: read as arrays, written as PNG."""

import io
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from tfx_jax.codecs.image.patches import Picture
from tfx_jax.common.whole_file import write_whole
from tfx_jax.errors import UserError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels


def read_picture(path: str, shape: Sequence[int]) -> Picture:
  """Returns the picture of a file, uint8 [H,W,C].

  Args:
    path: path of a PNG, JPEG or other file that Pillow reads.
    shape: (H, W, C) that the picture must have. Its colours are converted, its size is not.

  Raises:
    UserError: if it cannot be read, or has another size.
  """
  try:
    with Image.open(path) as image:
      return as_pixels(image, path, shape)
  except FileNotFoundError as error:
    raise UserError(f"no file {path}") from error
  except UnidentifiedImageError as error:
    raise UserError(f"{path} is no picture that can be read") from error
  except Image.DecompressionBombError as error:
    raise UserError(f"{path} has too many pixels") from error
  except (OSError, SyntaxError, ValueError) as error:
    raise UserError(f"{path} is damaged: {error}") from error


def as_pixels(image: Image.Image, name: str, shape: Sequence[int]) -> Picture:
  """Returns the pixels of an image, uint8 [H,W,C], with its colours converted to C channels.

  Raises:
    UserError: if it has another size than (H, W, C), which is known before it is decoded.
  """
  height, width, channels = shape
  if image.size != (width, height):
    raise UserError(
      f"{name} has {image.height}x{image.width} pixels, not {height}x{width} (image.size)"
    )
  return np.asarray(image.convert(_MODES[channels]), np.uint8).reshape(shape)


def write_picture(path: str, picture: Picture, scale: int = 1) -> None:
  """Writes a picture as PNG, each pixel `scale` times as wide and high.

  Raises:
    UserError: if it cannot be written.
  """
  image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
  image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
  content = io.BytesIO()
  image.save(content, "PNG")
  try:
    write_whole(path, content.getvalue())
  except OSError as error:
    reason = error.strerror or os.fspath(path)
    raise UserError(f"cannot write {path}: {reason}") from error

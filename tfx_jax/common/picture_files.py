"""Pictures as arrays: read from files, fitted to one shape, and written as PNG."""

import io
import os
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tfx_jax.common.whole_file import write_whole
from tfx_jax.errors import MissingFile, UserError

Picture = np.ndarray  # uint8 [H,W,C]
# Treatment of pictures of another size: refused; scaled until they fill it, and cut; scaled until
# they fit into it, with a border.
FITS = ("exact", "crop", "pad")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels
_WHITE = (255, 255, 255, 255)


def read_picture(path: str) -> Picture:
  """Returns the picture of a file, uint8 [H,W,C], with C as in the file: 1, 3, or 4 with alpha.

  Raises:
    UserError: if it cannot be read, is larger than Pillow allows, or has more than 8 bits a value.
  """
  try:
    # Of a picture that is so large that it may be meant to exhaust the memory.
    with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
      with Image.open(path) as image:
        return pixels_of(ImageOps.exif_transpose(image), path)
  except FileNotFoundError as error:
    raise MissingFile(f"no file {path}") from error
  except UnidentifiedImageError as error:
    raise UserError(f"{path} is no picture that can be read") from error
  except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
    raise UserError(f"{path} has too many pixels") from error
  except (OSError, SyntaxError, ValueError) as error:
    if isinstance(error, UserError):
      raise
    raise UserError(f"{path} is damaged: {error}") from error


def pixels_of(image: Image.Image, name: str) -> Picture:
  """Returns the pixels of an image, uint8 [H,W,C]: grey, of three colours, or also with alpha.

  Args:
    image: the image, of any mode.
    name: its name, for errors.

  Raises:
    UserError: for more than 8 bits a value, of which some would be lost.
  """
  if image.mode.startswith(("I", "F")):
    raise UserError(f"{name} has more than 8 bits a value (mode {image.mode}): convert it first")
  if image.has_transparency_data:
    mode = "RGBA"
  else:
    mode = "L" if image.mode in ("1", "L") else "RGB"
  pixels = np.asarray(image.convert(mode), np.uint8)
  return pixels[:, :, None] if mode == "L" else pixels


def fit(picture: Picture, shape: Sequence[int], how: str, name: str) -> Picture:
  """Returns a picture as one of `shape`.

  Colours become grey by their brightness, and transparent pixels white where there is no alpha.

  Args:
    picture: uint8 [h,w,c].
    shape: (H, W, C).
    how: treatment of another size, one of FITS.
    name: its name, for errors.

  Raises:
    UserError: for another size, if `how` is "exact".
  """
  if picture.shape == tuple(shape):
    return picture
  height, width, channels = shape
  image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
  if image.mode == "RGBA" and channels < 4:
    image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
  image = image.convert(MODES[channels])
  size = width, height
  if image.size != size:
    if how == "exact":
      raise UserError(
        f"{name} is {image.height} pixels high and {image.width} wide, not {height} and {width} "
        "(image.size); image.fit='crop' or 'pad' scales pictures"
      )
    if how == "crop":
      image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    else:
      blank = (255, 255, 255, 0) if channels == 4 else 255 if channels == 1 else _WHITE[:3]
      image = ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=blank)
  return np.asarray(image, np.uint8).reshape(shape)


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

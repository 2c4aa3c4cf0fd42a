"""Pictures as grids of patches, which are read row by row."""

from collections.abc import Sequence

import numpy as np

from tfx_jax.codecs.codec import Tokens
from tfx_jax.codecs.special_tokens import SPECIAL_PIECES
from tfx_jax.common.picture_files import Picture
from tfx_jax.errors import UserError

Size = tuple[int, int]  # height, width

# Id of code 0, behind the special tokens.
FIRST = len(SPECIAL_PIECES)


def reading_order(size: Sequence[int], patch: Sequence[int], block: Sequence[int]) -> np.ndarray:
  """Returns the patches of a picture, numbered row by row, in the order in which they are read.

  Blocks are read row by row, and so are the patches of a block: int64 [n].

  Args:
    size: height and width of the picture in pixels.
    patch: height and width of a patch in pixels.
    block: height and width of a block in patches.
  """
  rows, columns = size[0] // patch[0], size[1] // patch[1]
  numbers = np.arange(rows * columns).reshape(
    rows // block[0], block[0], columns // block[1], block[1]
  )
  return numbers.swapaxes(1, 2).ravel()


def count_patches(size: Sequence[int], patch: Sequence[int]) -> int:
  """Returns the number of patches of a picture."""
  return (size[0] // patch[0]) * (size[1] // patch[1])


def cut(picture: Picture, patch: Sequence[int]) -> np.ndarray:
  """Returns the patches of a picture, row by row: [H,W,C] -> [H/h*W/w,h,w,C]."""
  (height, width), (rows, columns, channels) = patch, picture.shape
  grid = picture.reshape(rows // height, height, columns // width, width, channels)
  return grid.swapaxes(1, 2).reshape(-1, height, width, channels)


def checked_cut(picture: Picture, shape: Sequence[int], patch: Sequence[int]) -> np.ndarray:
  """Returns the patches of a picture, as `cut`.

  Raises:
    UserError: if its shape is not `shape`, or it is not uint8.
  """
  if picture.shape != tuple(shape) or picture.dtype != np.uint8:
    raise UserError(
      f"a picture is {picture.dtype} {list(picture.shape)}, the codec has uint8 "
      f"{list(shape)}: see image.size"
    )
  return cut(picture, patch)


def join(patches: np.ndarray, shape: Sequence[int]) -> Picture:
  """Returns the picture of shape (H, W, C) with these patches: [H/h*W/w,h,w,C] -> [H,W,C]."""
  height, width, channels = patches.shape[1:]
  grid = patches.reshape(shape[0] // height, shape[1] // width, height, width, channels)
  return grid.swapaxes(1, 2).reshape(*shape)  # [rows,columns,h,w,C] -> [H,W,C]


def codes_of(ids: Sequence[int], element: Tokens, first: int) -> list[int]:
  """Returns the codes of a whole picture, `element.length` of them, from the ids of its tokens.

  Ids behind the first EOS and those of other tokens are left out; codes that are missing are 0.

  Args:
    ids: the ids.
    element: the element of the codec.
    first: the id of code 0.
  """
  ids, eos = [int(i) for i in ids], element.special_tokens.eos
  ids = ids[: ids.index(eos)] if eos in ids else ids
  codes = [i - first for i in ids if i >= first]
  return (codes + [0] * element.length)[: element.length]


def check_patch(size: Sequence[int], patch: Sequence[int], block: Sequence[int] = (1, 1)) -> None:
  """Checks that patches fill a picture, and blocks of patches, too.

  Raises:
    UserError: naming the keys.
  """
  keys = {"image.size": size, "image.patch": patch, "image.block": block}
  for key, value in keys.items():
    pair = isinstance(value, tuple | list) and len(value) == 2
    if not pair or not all(isinstance(n, int) and 0 < n < 1 << 14 for n in value):
      raise UserError(f"{key}={value!r}: use a pair (HEIGHT, WIDTH)")
  if any(n % p for n, p in zip(size, patch, strict=True)):
    raise UserError(f"image.patch={tuple(patch)} does not divide image.size={tuple(size)}")
  if any(n // p % b for n, p, b in zip(size, patch, block, strict=True)):
    grid = tuple(n // p for n, p in zip(size, patch, strict=True))
    raise UserError(f"image.block={tuple(block)} does not divide the {grid} patches of a picture")

"""Pictures as tokens: a picture is cut into patches, and each patch is an entry of a codebook.

With patches of one pixel, the codebook is a palette, or the grey levels. If it holds all patches of
the training pictures, these are encoded without loss; other patches become the nearest entry. If it
holds all patches that can be made of the values that occur, nothing is ever lost.
"""

import collections
import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterable, Sequence

import numpy as np

from tfx_jax.codecs.codec import Tokens
from tfx_jax.codecs.special_tokens import SPECIAL_PIECES
from tfx_jax.common.picture_files import Picture
from tfx_jax.common.whole_file import write_whole
from tfx_jax.errors import UserError

Size = tuple[int, int]  # height, width

SPEC, CODEBOOK = "codec.json", "codebook.npy"
_FORMAT = 1
_FIRST = len(SPECIAL_PIECES)  # id of the first entry of the codebook
# Iterations of k-means, and most different patches that it sees.
_ITERATIONS, _MOST_PATCHES = 20, 50_000


class PatchCodec:
  """Pictures of one size as tokens, a patch each, row by row.

  Args:
    codebook: uint8 [K,h,w,C], different patches; the first one stands for missing patches.
    size: height and width of pictures, multiples of h and w.
    first: id of the first patch of the codebook.

  Attributes:
    element: tokens: the special ones, and from `first` one for each patch of the codebook.
    fingerprint: a hash of the codebook, the size and `first`.
  """

  def __init__(self, codebook: np.ndarray, size: Size, first: int = _FIRST) -> None:
    self._codebook, self.size, self._first = codebook, (int(size[0]), int(size[1])), first
    self._rows, self._columns = (n // p for n, p in zip(size, codebook.shape[1:3], strict=True))
    self.element = Tokens(
      first + len(codebook), others=first, length=count_patches(size, codebook.shape[1:3])
    )
    digest = hashlib.blake2b(codebook.tobytes(), digest_size=16)
    digest.update(repr((codebook.shape, self.size)).encode())
    if first != _FIRST:
      digest.update(repr(first).encode())
    self.fingerprint = f"patches-{digest.hexdigest()}"
    self._numbers = {patch.tobytes(): number for number, patch in enumerate(codebook)}

  @property
  def shape(self) -> tuple[int, int, int]:
    """Shape of a picture, (H, W, C)."""
    return (*self.size, self._codebook.shape[3])

  def behind(self, first: int) -> "PatchCodec":
    """Returns the same codec with ids from `first` on, in a vocabulary with another codec."""
    return PatchCodec(self._codebook, self.size, first)

  def encode(self, pictures: Sequence[Picture], /) -> list[list[int]]:
    """Returns the ids of each picture's patches.

    Raises:
      UserError: for a picture of another size or number of channels.
    """
    return [(self._first + self._entries(self._cut(picture))).tolist() for picture in pictures]

  def decode(self, sequences: Sequence[Sequence[int]], /) -> list[Picture]:
    """Returns the picture of each sequence up to its first EOS; further patches are left out."""
    return [self._join([int(i) for i in sequence]) for sequence in sequences]

  def measure(self, picture: Picture, /) -> dict[str, int]:
    """Returns 1 picture, and the number of its values, H * W * C."""
    return {"pictures": 1, "values": int(np.prod(picture.shape))}

  def save(self, folder: str) -> None:
    """Writes the codec to a folder.

    Raises:
      UserError: if the folder cannot be written.
    """
    codebook = io.BytesIO()
    np.save(codebook, self._codebook, allow_pickle=False)
    spec = {
      "format": _FORMAT, "kind": "patches", "size": self.size, "fingerprint": self.fingerprint
    }  # fmt: skip
    try:
      os.makedirs(folder, exist_ok=True)
      write_whole(os.path.join(folder, CODEBOOK), codebook.getvalue())
      write_whole(os.path.join(folder, SPEC), json.dumps(spec).encode())
    except OSError as error:
      raise UserError(f"cannot write the codec to {folder}: {error.strerror}") from error

  def _cut(self, picture: Picture) -> np.ndarray:
    """Returns the patches of a picture, [H,W,C] -> [H/h*W/w,h,w,C]."""
    if picture.shape != self.shape or picture.dtype != np.uint8:
      raise UserError(
        f"a picture is {picture.dtype} {list(picture.shape)}, the codec has uint8 "
        f"{list(self.shape)}: see image.size"
      )
    return cut(picture, self._codebook.shape[1:3])

  def _entries(self, patches: np.ndarray) -> np.ndarray:
    """Returns the entries that equal patches, or else the nearest: [N,h,w,C] -> [N]."""
    found = np.array([self._numbers.get(patch.tobytes(), -1) for patch in patches])
    new = found < 0
    if new.any():
      points, centres = patches[new], self._codebook
      found[new] = _nearest(*(x.reshape(len(x), -1).astype(np.float32) for x in (points, centres)))
    return found

  def _join(self, ids: list[int]) -> Picture:
    eos = self.element.special_tokens.eos
    ids = ids[: ids.index(eos)] if eos in ids else ids
    numbers = [i - self._first for i in ids if i >= self._first]
    numbers = (numbers + [0] * self.element.length)[: self.element.length]
    height, width, channels = self._codebook.shape[1:]
    grid = self._codebook[numbers].reshape(self._rows, self._columns, height, width, channels)
    return grid.swapaxes(1, 2).reshape(self.shape)  # [rows,columns,h,w,C] -> [H,W,C]


def count_patches(size: Sequence[int], patch: Sequence[int]) -> int:
  """Returns the number of patches of a picture."""
  return (size[0] // patch[0]) * (size[1] // patch[1])


def cut(picture: Picture, patch: Sequence[int]) -> np.ndarray:
  """Returns the patches of a picture, row by row: [H,W,C] -> [H/h*W/w,h,w,C]."""
  (height, width), (rows, columns, channels) = patch, picture.shape
  grid = picture.reshape(rows // height, height, columns // width, width, channels)
  return grid.swapaxes(1, 2).reshape(-1, height, width, channels)


def train_patches(pictures: Iterable[Picture], size: Size, patch: Size, codes: int) -> PatchCodec:
  """Returns a codec that loses as little as `codes` entries allow.

  Its codebook holds all patches that can be made of the values of the pictures; if these are too
  many, all patches of the pictures; or else those that k-means finds. Grey levels of single pixels
  are always complete, from 0 to 255. The same pictures and settings give the same codec.

  Args:
    pictures: the pictures, read once.
    size: height and width of pictures.
    patch: height and width of a patch.
    codes: most entries of the codebook.

  Raises:
    UserError: if patches do not fit the size, for pictures of another size, or for none.
  """
  check_patch(size, patch)
  counts: collections.Counter[bytes] = collections.Counter()
  channels = 0
  for picture in pictures:
    channels = channels or picture.shape[2]
    if picture.shape != (*size, channels) or picture.dtype != np.uint8:
      raise UserError(
        f"a picture is {picture.dtype} {list(picture.shape)}, others are uint8 "
        f"{[*size, channels]}: see image.size"
      )
    counts.update(each.tobytes() for each in cut(picture, patch))
  if not counts:
    raise UserError("no pictures to learn image codes from")
  order = sorted(counts, key=lambda content: (-counts[content], content))
  flat = np.frombuffer(b"".join(order), np.uint8).reshape(len(order), -1)
  levels = np.arange(256, dtype=np.uint8) if flat.shape[1] == 1 else np.unique(flat)
  if len(levels) ** flat.shape[1] <= codes:
    return PatchCodec(_all_patches(levels, flat).reshape(-1, *patch, channels), size)
  if len(order) > codes:
    weights = np.array([counts[content] for content in order], np.float64)
    flat = _k_means(flat[:_MOST_PATCHES], weights[:_MOST_PATCHES], codes)
  return PatchCodec(flat.reshape(-1, *patch, channels), size)


def check_patch(size: Sequence[int], patch: Sequence[int]) -> None:
  """Checks that patches fill a picture.

  Raises:
    UserError: naming the keys.
  """
  for key, value in (("image.size", size), ("image.patch", patch)):
    pair = isinstance(value, tuple | list) and len(value) == 2
    if not pair or not all(isinstance(n, int) and 0 < n < 1 << 14 for n in value):
      raise UserError(f"{key}={value!r}: use a pair (HEIGHT, WIDTH) in pixels")
  if any(n % p for n, p in zip(size, patch, strict=True)):
    raise UserError(f"image.patch={tuple(patch)} does not divide image.size={tuple(size)}")


def load_patches(folder: str) -> PatchCodec:
  """Loads a codec that was saved to a folder.

  Raises:
    UserError: if it is missing or damaged.
  """
  path = os.path.join(folder, SPEC)
  try:
    with open(path, "rb") as file:
      spec = json.loads(file.read())
    if spec["format"] != _FORMAT:
      raise UserError(f"{path} has format {spec['format']}, this version reads {_FORMAT}")
    codebook = np.load(os.path.join(folder, CODEBOOK), allow_pickle=False)
    codec = PatchCodec(codebook, tuple(spec["size"]))
    damaged = spec["fingerprint"] != codec.fingerprint
  except OSError as error:
    raise UserError(f"cannot read the codec {folder}: {error.strerror}") from error
  except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
    raise UserError(f"{path} is damaged: {type(error).__name__} {error}") from error
  if damaged:
    raise UserError(f"the codec in {folder} is damaged: its files do not belong together")
  return codec


def _all_patches(levels: np.ndarray, first: np.ndarray) -> np.ndarray:
  """Returns all vectors [N,D] of some levels: first those of `first` [n,D], then the rest."""
  known = {vector.tobytes() for vector in first}
  vectors = map(np.array, itertools.product(levels, repeat=first.shape[1]))
  rest = [vector for vector in vectors if vector.tobytes() not in known]
  return np.concatenate([first, np.array(rest, np.uint8).reshape(-1, first.shape[1])])


def _k_means(points: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
  """Returns different centres of weighted points, uint8 [N,D] -> [at most count,D].

  Lloyd's iterations from the heaviest points; a centre without points stays.
  """
  values = points.astype(np.float32)
  centres = values[:count].copy()
  for _ in range(_ITERATIONS):
    nearest = _nearest(values, centres)
    mass = np.bincount(nearest, weights, count)
    sums = np.stack([np.bincount(nearest, weights * column, count) for column in values.T], axis=1)
    centres = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1e-9)[:, None], centres)
    centres = centres.astype(np.float32)
  rounded = np.rint(centres).astype(np.uint8)
  # In the order of the heaviest, each once.
  return rounded[np.sort(np.unique(rounded, axis=0, return_index=True)[1])]


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
  """Returns the number of the nearest centre of each point: [N,D], [K,D] -> [N]."""
  # Without the norms of the points, which are the same for all centres.
  norms = (centres**2).sum(axis=1)
  found = [
    (norms - 2 * chunk @ centres.T).argmin(axis=1)  # [n,D] x [K,D] -> [n,K] -> [n]
    for chunk in np.array_split(points, max(len(points) // 4096, 1))
  ]
  return np.concatenate(found)

"""Pictures as tokens: a picture is cut into patches, and each patch is an entry of a codebook.

With patches of one pixel, the codebook is a palette, or the grey levels. If it holds all patches of
the training pictures, these are encoded without loss; other patches become the nearest entry. If it
holds all patches that can be made of the values that occur, nothing is ever lost.
"""

import collections
import hashlib
import io
import itertools
import os
from collections.abc import Iterable, Sequence

import numpy as np
from absl import logging

from tfx_jax.codecs.codec import Tokens
from tfx_jax.codecs.image.grid import (
  FIRST,
  Size,
  check_patch,
  checked_cut,
  codes_of,
  count_patches,
  cut,
  join,
  reading_order,
)
from tfx_jax.codecs.image.saved import write_codec
from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.picture_files import Picture
from tfx_jax.errors import UserError

CODEBOOK = "codebook.npy"
# Iterations of k-means, and most different patches that it sees.
_ITERATIONS, _MOST_PATCHES = 20, 50_000


class PatchCodec:
  """Pictures of one size as tokens, a patch each, row by row.

  Args:
    codebook: uint8 [K,h,w,C], different patches; the first one stands for missing patches.
    size: height and width of pictures, multiples of h and w.
    first: id of the first patch of the codebook.
    block: height and width of blocks, in patches, that are read one after the other.

  Attributes:
    element: tokens: the special ones, and from `first` one for each patch of the codebook.
    fingerprint: a hash of the arguments.
  """

  kind = "patches"

  def __init__(
    self, codebook: np.ndarray, size: Size, first: int = FIRST, block: Size = (1, 1)
  ) -> None:
    self._codebook, self.size, self._first = codebook, (int(size[0]), int(size[1])), first
    self._block = (int(block[0]), int(block[1]))
    self._order = reading_order(self.size, codebook.shape[1:3], self._block)
    self._place = np.argsort(self._order)  # of each patch, row by row
    self.element = Tokens(
      first + len(codebook), others=first, length=count_patches(size, codebook.shape[1:3])
    )
    digest = hashlib.blake2b(codebook.tobytes(), digest_size=16)
    digest.update(repr((codebook.shape, self.size)).encode())
    if first != FIRST:
      digest.update(repr(first).encode())
    if self._block != (1, 1):
      digest.update(f"block {self._block}".encode())
    self.fingerprint = f"patches-{digest.hexdigest()}"
    self._numbers = {patch.tobytes(): number for number, patch in enumerate(codebook)}

  @property
  def shape(self) -> tuple[int, int, int]:
    """Shape of a picture, (H, W, C)."""
    return (*self.size, self._codebook.shape[3])

  def behind(self, first: int) -> "PatchCodec":
    """Returns the same codec with ids from `first` on, in a vocabulary with another codec."""
    return PatchCodec(self._codebook, self.size, first, self._block)

  def encode(self, pictures: Sequence[Picture], /) -> list[list[int]]:
    """Returns the ids of each picture's patches.

    Raises:
      UserError: for a picture of another size or number of channels.
    """
    patch = self._codebook.shape[1:3]
    return [
      (self._first + self._entries(checked_cut(picture, self.shape, patch)[self._order])).tolist()
      for picture in pictures
    ]

  def decode(self, sequences: Sequence[Sequence[int]], /) -> list[Picture]:
    """Returns the picture of each sequence up to its first EOS; further patches are left out."""
    return [
      join(self._codebook[codes_of(ids, self.element, self._first)][self._place], self.shape)
      for ids in sequences
    ]

  def measure(self, picture: Picture, /) -> dict[str, int]:
    """Returns 1 picture, and the number of its values, H * W * C."""
    return {"pictures": 1, "values": int(np.prod(picture.shape))}

  def save(self, folder: str) -> None:
    """Writes the codec to a folder, with ids as they are in a vocabulary of its own.

    Raises:
      UserError: if the folder cannot be written.
    """
    codebook = io.BytesIO()
    np.save(codebook, self._codebook, allow_pickle=False)
    files = {CODEBOOK: codebook.getvalue()}
    write_codec(folder, self.kind, self.behind(FIRST).fingerprint, self._spec(), files)

  def _spec(self) -> JsonObject:
    spec: JsonObject = {"size": self.size}
    return spec if self._block == (1, 1) else spec | {"block": self._block}

  def _entries(self, patches: np.ndarray) -> np.ndarray:
    """Returns the entries that equal patches, or else the nearest: [N,h,w,C] -> [N]."""
    found = np.array([self._numbers.get(patch.tobytes(), -1) for patch in patches])
    new = found < 0
    if new.any():
      points, centres = patches[new], self._codebook
      found[new] = _nearest(*(x.reshape(len(x), -1).astype(np.float32) for x in (points, centres)))
    return found


def train_patches(
  pictures: Iterable[Picture], size: Size, patch: Size, codes: int, block: Size = (1, 1)
) -> PatchCodec:
  """Returns a codec that loses as little as `codes` entries allow.

  Its codebook holds all patches that can be made of the values of the pictures; if these are too
  many, all patches of the pictures; or else those that k-means finds. Grey levels of single pixels
  are always complete, from 0 to 255. The same pictures and settings give the same codec.

  Args:
    pictures: the pictures, read once.
    size: height and width of pictures.
    patch: height and width of a patch.
    codes: most entries of the codebook.
    block: see `PatchCodec`.

  Raises:
    UserError: if patches do not fit the size, for pictures of another size, or for none.
  """
  check_patch(size, patch, block)
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
    return PatchCodec(_all_patches(levels, flat).reshape(-1, *patch, channels), size, block=block)
  if len(order) > codes:
    logging.warning(
      "the pictures have %d different patches: each becomes the nearest of image.codes=%d entries",
      *(len(order), codes),
    )
    weights = np.array([counts[content] for content in order], np.float64)
    flat = _k_means(flat[:_MOST_PATCHES], weights[:_MOST_PATCHES], codes)
  return PatchCodec(flat.reshape(-1, *patch, channels), size, block=block)


def make_patches(folder: str, spec: JsonObject) -> PatchCodec:
  """Makes a codec from a folder that it was saved to, and its description; see `read_codec`."""
  codebook = np.load(os.path.join(folder, CODEBOOK), allow_pickle=False)
  return PatchCodec(codebook, tuple(spec["size"]), block=tuple(spec.get("block", (1, 1))))


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

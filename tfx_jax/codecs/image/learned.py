"""Pictures as learned codes: an autoencoder gives each patch a code that depends on all of them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tfx_jax.codecs.codec import Tokens
from tfx_jax.codecs.image.frames import PatchFrames
from tfx_jax.codecs.image.grid import FIRST, codes_of, count_patches
from tfx_jax.codecs.image.saved import write_codec
from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.picture_files import Picture


class FrameAutoencoder(Protocol):
  """A trained autoencoder."""

  @property
  def num_codes(self) -> int:
    """Number of different codes."""
    ...

  @property
  def fingerprint(self) -> str:
    """A hash of all that codes and frames depend on."""
    ...

  def encode(self, frames: np.ndarray) -> np.ndarray:
    """Returns the codes of whole values: float32 [N,n,C] -> int32 [N,n]."""
    ...

  def decode(self, codes: np.ndarray) -> np.ndarray:
    """Returns the frames of whole values: int32 [N,n] -> float32 [N,n,C]."""
    ...

  def saved(self) -> tuple[JsonObject, Mapping[str, bytes]]:
    """Returns what it can be made from again: facts, and contents of files by name."""
    ...


class LearnedCodec:
  """Pictures of one size as tokens, a patch each, row by row. Details may be lost.

  Args:
    frames: codec of the frames that the autoencoder reads.
    autoencoder: the autoencoder.
    first: id of code 0.

  Attributes:
    element: tokens: the special ones, and from `first` one for each code.
    fingerprint: a hash of the arguments.
    shape: shape of a picture, (H, W, C).
  """

  kind = "learned"

  def __init__(
    self, frames: PatchFrames, autoencoder: FrameAutoencoder, first: int = FIRST
  ) -> None:
    self._frames, self._autoencoder, self._first = frames, autoencoder, first
    self.shape = frames.shape
    count = count_patches(frames.shape, frames.patch)
    self.element = Tokens(first + autoencoder.num_codes, others=first, length=count)
    parts = repr((frames.fingerprint, autoencoder.fingerprint, first))
    self.fingerprint = f"learned-{hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()}"

  def behind(self, first: int) -> "LearnedCodec":
    """Returns the same codec with ids from `first` on, in a vocabulary with another codec."""
    return LearnedCodec(self._frames, self._autoencoder, first)

  def encode(self, pictures: Sequence[Picture], /) -> list[list[int]]:
    """Returns the ids of each picture's codes.

    Raises:
      UserError: for a picture of another size or number of channels.
    """
    if not len(pictures):
      return []
    codes = self._autoencoder.encode(np.stack(self._frames.encode(pictures)))
    return (codes + self._first).tolist()

  def decode(self, sequences: Sequence[Sequence[int]], /) -> list[Picture]:
    """Returns the picture of each sequence up to its first EOS; further codes are left out."""
    if not len(sequences):
      return []
    codes = [codes_of(ids, self.element, self._first) for ids in sequences]
    return self._frames.decode([*self._autoencoder.decode(np.array(codes, np.int32))])

  def measure(self, picture: Picture, /) -> dict[str, int]:
    """Returns 1 picture: codes are no likelihood of its values."""
    return {"pictures": 1}

  def save(self, folder: str) -> None:
    """Writes the codec with its autoencoder to a folder, ids as in a vocabulary of its own.

    Raises:
      UserError: if the folder cannot be written.
    """
    spec, files = self._autoencoder.saved()
    write_codec(folder, self.kind, self.behind(FIRST).fingerprint, spec, files)

"""The contract of a codec: a value (a text, an image, a sound) as a sequence of elements, and back.

A position of a sequence holds one element: a token id, or a frame, which is a vector of numbers.
Subsampling (patches of an image, stacked frames of a spectrogram) is done by the codec, so that
packing, segments, positions, masks and caches are the same for all modalities.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from tfx_jax.codecs.special_tokens import DEFAULT, SpecialTokens

Value = TypeVar("Value")
# A value of a codec that is not known here: a text, an image, a sound.
AnyValue = Any
# A sequence of elements: token ids [n], or frames, float32 [n,C].
Elements = Sequence[int] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Tokens:
  """An element that is one of a number of token ids, int32.

  Attributes:
    vocab_size: number of ids, the special tokens included.
    special_tokens: ids that stand for no part of a value.
    others: ids below this one are special tokens, or those of another codec in the same vocabulary.
    length: tokens of every sequence, without special ones; 0 if lengths differ.
  """

  vocab_size: int
  special_tokens: SpecialTokens = DEFAULT
  others: int = 0
  length: int = 0

  dtype = np.dtype(np.int32)

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of one element, ()."""
    return ()

  @property
  def storage_dtype(self) -> np.dtype:
    """Dtype on disk, the smallest that holds every id."""
    return np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<i4")

  @property
  def fingerprint_parts(self) -> tuple:
    """Fields that decide how sequences become sources and targets."""
    return tuple(self.special_tokens)

  @property
  def prefix_length(self) -> int:
    """Number of elements that every target starts with, which no model has to learn."""
    return len(self.special_tokens.prefix)

  def as_source(self, elements: Elements) -> Elements:
    """Returns the sequence of a value as a source, with special tokens."""
    return self.special_tokens.as_source(elements)

  def as_target(self, elements: Elements) -> Elements:
    """Returns the sequence of a value as a target, with special tokens."""
    return self.special_tokens.as_target(elements)

  def first_input(self) -> np.ndarray:
    """Returns the decoder input [1] from which the first element is predicted, BOS."""
    return np.array([self.special_tokens.bos], np.int32)

  def prompt(self) -> np.ndarray:
    """Returns the decoder inputs [P] in front of every output: BOS and the prefix."""
    return np.array([self.special_tokens.bos, *self.special_tokens.prefix], np.int32)


@dataclasses.dataclass(frozen=True)
class Frames:
  """An element that is a vector, float32 [C].

  Attributes:
    channels: C, numbers of a vector.
  """

  channels: int

  dtype = storage_dtype = np.dtype("<f4")
  prefix_length = 0

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of one element, (C,)."""
    return (self.channels,)

  @property
  def fingerprint_parts(self) -> tuple:
    """Fields that decide how sequences become sources and targets."""
    return ("frames", self.channels)

  def as_source(self, elements: Elements) -> Elements:
    """Returns the frames of a value as a source: unchanged."""
    return elements

  def as_target(self, elements: Elements) -> Elements:
    """Returns the frames of a value as a target: unchanged, the end is predicted beside them."""
    return elements

  def first_input(self) -> np.ndarray:
    """Returns the decoder input [1,C] from which the first frame is predicted, zeros."""
    return np.zeros((1, self.channels), np.float32)

  def prompt(self) -> np.ndarray:
    """Returns the decoder inputs [P,C] in front of every output: the first one."""
    return self.first_input()


Element = Tokens | Frames


class Codec(Protocol[Value]):
  """Values to sequences of elements and back."""

  @property
  def element(self) -> Element:
    """The kind of element that sequences consist of."""
    ...

  @property
  def fingerprint(self) -> str:
    """A hash that changes exactly when `encode` or `decode` may give something else."""
    ...

  def encode(self, values: Sequence[Value], /) -> Sequence[Elements]:
    """Returns the sequence of each value: token ids [n], or frames [n,C], no special tokens."""
    ...

  def decode(self, sequences: Sequence[Any], /) -> list[Value]:
    """Returns the value of each sequence; of tokens, up to the first that ends a sequence."""
    ...

  def measure(self, value: Value, /) -> Mapping[str, int]:
    """Returns sizes of a value, by unit, that a loss can be divided by: bytes of a text, say."""
    ...

  def save(self, folder: str) -> None:
    """Writes the codec to a folder, so that a run can be opened again."""
    ...

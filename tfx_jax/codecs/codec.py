"""The contract of a codec: a value (a text, an image, a sound) as a sequence of elements, and back.

A position of a sequence holds one element: a token id, or a frame, which is a vector of numbers.
Subsampling (patches of an image, stacked frames of a spectrogram) is done by the codec, so that
packing, segments, positions, masks and caches are the same for all modalities.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from tfx_jax.codecs.special_tokens import DEFAULT, SpecialTokens

Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class Tokens:
  """An element that is one of a number of token ids.

  Attributes:
    vocab_size: number of ids, the special tokens included.
    special_tokens: ids that stand for no part of a value.
  """

  vocab_size: int
  special_tokens: SpecialTokens = DEFAULT

  shape: tuple[int, ...] = dataclasses.field(default=(), init=False)
  dtype: Any = dataclasses.field(default=np.int32, init=False)


@dataclasses.dataclass(frozen=True)
class Frames:
  """An element that is a vector.

  Attributes:
    channels: C, numbers of a vector.
  """

  channels: int

  dtype: Any = dataclasses.field(default=np.float32, init=False)

  @property
  def shape(self) -> tuple[int, ...]:
    """Returns the shape of one element, (C,)."""
    return (self.channels,)


Element = Tokens | Frames


class Codec(Protocol[Value]):
  """Values to sequences of elements and back.

  Attributes:
    element: the kind of element that a sequence consists of.
  """

  @property
  def element(self) -> Element: ...  # noqa: D102

  @property
  def fingerprint(self) -> str:
    """Returns a hash that changes exactly when `encode` or `decode` may give something else."""
    ...

  def encode(self, values: Sequence[Value]) -> list[Any]:
    """Returns the sequence of each value: token ids [n], or frames [n,C], no special tokens."""
    ...

  def decode(self, sequences: Sequence[Any]) -> list[Value]:
    """Returns the value of each sequence; of tokens, up to the first that ends a sequence."""
    ...

  def save(self, folder: str) -> None:
    """Writes the codec to a folder, so that a run can be opened again."""
    ...

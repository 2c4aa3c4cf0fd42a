"""Sequences of unequal length in two arrays."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
  """Sequences of unequal length, end to end.

  Attributes:
    values: all elements, [sum of lengths, …shape of an element]: ids uint16 or int32, or frames
      float32.
    offsets: int64 [N + 1], where each sequence starts, and the end of the last.
  """

  values: np.ndarray
  offsets: np.ndarray

  def __post_init__(self) -> None:
    # A view of a mapped file, because slices of np.memmap are slow.
    for name in ("values", "offsets"):
      object.__setattr__(self, name, np.asarray(getattr(self, name)))

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def __getitem__(self, i: int) -> np.ndarray:
    """Returns sequence i, a view."""
    i = range(len(self))[i]
    return self.values[self.offsets[i] : self.offsets[i + 1]]

  def __iter__(self) -> Iterator[np.ndarray]:
    return (self[i] for i in range(len(self)))

  @functools.cached_property
  def lengths(self) -> np.ndarray:
    """Lengths, int32 [N]."""
    return np.diff(self.offsets).astype(np.int32)

"""Sequences of unequal length in two arrays."""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
  """Sequences of unequal length, end to end.

  Attributes:
    tokens: all sequences, [sum of lengths], uint16 or int32.
    offsets: where each begins, and the end, [N + 1], int64.
  """

  tokens: np.ndarray
  offsets: np.ndarray

  def __post_init__(self):
    # A view of a mapped file, because slices of np.memmap are slow.
    for name in ("tokens", "offsets"):
      object.__setattr__(self, name, np.asarray(getattr(self, name)))

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def __getitem__(self, i: int) -> np.ndarray:
    """Returns sequence i, a view."""
    i = range(len(self))[i]
    return self.tokens[self.offsets[i] : self.offsets[i + 1]]

  @functools.cached_property
  def lengths(self) -> np.ndarray:
    """Lengths, [N] int32."""
    return np.diff(self.offsets).astype(np.int32)

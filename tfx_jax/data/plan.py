"""The plan of an epoch: which pairs share a row.

It is a function of (seed, epoch, lengths) alone, so every process can compute every epoch, and a
resumed run needs a position, not a state.
"""

import bisect
import itertools
from typing import NamedTuple

import numpy as np

# Pairs that are packed together: enough to fill rows well, few enough to keep epochs random.
WINDOW = 1024


class Plan(NamedTuple):
  """Rows of one epoch: row r holds the pairs `order[offsets[r]:offsets[r+1]]`.

  Attributes:
    order: int64 [N], all pairs by number, row by row.
    offsets: int64 [rows + 1], where each row starts in `order`, and the end.
  """

  order: np.ndarray
  offsets: np.ndarray

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def row(self, number: int) -> np.ndarray:
    """Returns the numbers of the pairs in a row."""
    return self.order[self.offsets[number] : self.offsets[number + 1]]


def plan(
  seed: int, epoch: int, lengths: np.ndarray, source_length: int, target_length: int
) -> Plan:
  """Distributes all pairs over rows; every epoch has another order.

  The pairs are shuffled and cut into windows. In a window, pairs are placed from the longest to the
  shortest, each into the row with the least capacity left that can hold it (best-fit decreasing).
  Then the rows are shuffled. Each pair is in one row.

  Args:
    seed: the run's.
    epoch: its number, from 0.
    lengths: int [N,2], length of each source and target, at most that of a row.
    source_length: capacity of a row for sources.
    target_length: capacity of a row for targets.
  """
  rng = np.random.default_rng([seed, epoch])
  order = rng.permutation(len(lengths))
  capacity = np.array([source_length, target_length])
  pairs, sizes = [], []
  for start in range(0, len(order), WINDOW):
    rows = _best_fit_decreasing(order[start : start + WINDOW], lengths, capacity)
    # Arrays, because the lists of all windows would be ten times as large.
    pairs.append(np.fromiter(itertools.chain.from_iterable(rows), np.int64))
    sizes.append(np.fromiter(map(len, rows), np.int64))
  return _shuffled(np.concatenate(pairs), np.concatenate(sizes), rng)


def _shuffled(pairs: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Plan:
  """Returns the plan of the rows of `sizes` pairs each, which follow each other, shuffled."""
  rows = rng.permutation(len(sizes))
  starts = (np.cumsum(sizes) - sizes)[rows]
  offsets = np.concatenate([[0], np.cumsum(sizes[rows])])
  places = np.repeat(starts - offsets[:-1], sizes[rows]) + np.arange(len(pairs))
  return Plan(pairs[places], offsets)


def _best_fit_decreasing(
  pairs: np.ndarray, lengths: np.ndarray, capacity: np.ndarray
) -> list[list[int]]:
  """Returns rows, as lists of pair numbers."""
  # Source lengths times T and target lengths times S: both capacities are then S * T, so that
  # shares of a row can be compared and added as exact integers.
  full = int(capacity.prod())
  sizes = lengths[pairs] * capacity[::-1]
  by_size = np.argsort(-sizes.max(axis=1), kind="stable")
  rows: list[list[int]] = []
  # Capacity left in each row: (sum, row, source, target), ascending, so the first fit is the best.
  left: list[tuple[int, int, int, int]] = []
  for pair, (source, target) in zip(pairs[by_size].tolist(), sizes[by_size].tolist(), strict=True):
    for place in range(bisect.bisect_left(left, (source + target,)), len(left)):
      if left[place][2] >= source and left[place][3] >= target:
        _, row, source_left, target_left = left.pop(place)
        break
    else:
      row, source_left, target_left = len(rows), full, full
      rows.append([])
    rows[row].append(pair)
    source_left, target_left = source_left - source, target_left - target
    bisect.insort(left, (source_left + target_left, row, source_left, target_left))
  return rows

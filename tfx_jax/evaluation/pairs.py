"""Pairs of token sequences in batches of few shapes, for what is computed in one pass."""

from collections.abc import Iterator, Sequence

import numpy as np

from tfx_jax.data.packing import pack


def in_batches(
  sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], rows: int
) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
  """Numbers of pairs of similar length, and their batch of `rows`, a pair a row.

  Rows that are left over are empty. Lengths are rounded up, so that few programs are compiled.
  """
  order = sorted(range(len(sources)), key=lambda i: (len(sources[i]), len(targets[i])))
  for start in range(0, len(order), rows):
    members = order[start : start + rows]
    empty = [[]] * (rows - len(members))
    sides = [[[np.asarray(side[i])] for i in members] + empty for side in (sources, targets)]
    lengths = [max(len(row[0]) for row in side if row) for side in sides]
    yield members, pack(*sides, *(_rounded(length) for length in lengths))


def _rounded(length: int) -> int:
  """The next power of two from 16 on."""
  return max(16, 1 << (length - 1).bit_length())

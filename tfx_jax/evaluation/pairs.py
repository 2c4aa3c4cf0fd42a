"""Pairs of sequences in batches of few shapes, to compute scores or attention in one pass."""

from collections.abc import Iterator, Sequence

import numpy as np

from tfx_jax.data.layout import Layout


def in_batches(
  layout: Layout, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], rows: int
) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
  """Yields the numbers of pairs of similar length, and their batch, one pair a row.

  Args:
    layout: how the model is given pairs.
    sources: the sources, with special tokens.
    targets: the targets, with special tokens.
    rows: B; rows without a pair are empty.
  """
  order = sorted(range(len(sources)), key=lambda i: (len(sources[i]), len(targets[i])))
  for start in range(0, len(order), rows):
    members = order[start : start + rows]
    yield members, layout.pairs([sources[i] for i in members], [targets[i] for i in members], rows)

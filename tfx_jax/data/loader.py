"""Batches as a function of (seed, position), for one process of several."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tfx_jax.data.corpus import Corpus
from tfx_jax.data.packing import Plan, pack, plan
from tfx_jax.errors import UserError


class Position(NamedTuple):
  """The next row to be read: everything a resumed run must know of its data."""

  epoch: int = 0
  row: int = 0


class Loader:
  """Packed batches of a corpus, without end or once through.

  The corpus may be another in every epoch, as subword regularisation makes it.

  Rows follow each other over the end of an epoch, so no pair is dropped and every batch is full.

  Args:
    corpora: epoch -> what is read in it.
    seed: of the run.
    source_length: S, source tokens of a row.
    target_length: T, target tokens of a row.
    batch_size: rows of a batch, over all processes.
    process_index: which share of each batch is this process's.
    process_count: how many shares there are.

  Raises:
    UserError: if the batch does not divide over the processes.
  """

  def __init__(
    self,
    corpora: Callable[[int], Corpus],
    seed: int,
    source_length: int,
    target_length: int,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
  ):
    if batch_size % process_count:
      raise UserError(
        f"data.batch_size={batch_size} does not divide over {process_count} processes"
      )
    self._corpora = corpora
    self._seed = seed
    self._shape = (source_length, target_length)
    self._batch_size = batch_size
    share = batch_size // process_count
    self._share = slice(process_index * share, (process_index + 1) * share)
    self._epochs: dict[int, _Epoch] = {}

  def batch(self, position: Position) -> tuple[dict[str, np.ndarray], Position]:
    """This process's share of the batch at `position`, and the position after it."""
    epoch, row = position
    rows = []
    while len(rows) < self._batch_size:
      present = self._epoch(epoch)
      taken = min(len(present.plan) - row, self._batch_size - len(rows))
      rows += [present.row(number) for number in range(row, row + taken)]
      row += taken
      if row == len(present.plan):
        epoch, row = epoch + 1, 0
    return self._arrays(rows), Position(epoch, row)

  def once(self) -> Iterator[dict[str, np.ndarray]]:
    """Every pair once; empty rows fill up the last batch."""
    first = self._epoch(0)
    count = len(first.plan)
    for start in range(0, count, self._batch_size):
      rows = [first.row(number) for number in range(start, min(start + self._batch_size, count))]
      yield self._arrays(rows + [([], [])] * (self._batch_size - len(rows)))

  def density(self) -> tuple[float, float]:
    """Shares of real source and target tokens in the rows of the first epoch."""
    corpus, plan = self._epoch(0)
    source, target = (
      len(side.tokens) / (len(plan) * length)
      for side, length in zip((corpus.sources, corpus.targets), self._shape, strict=True)
    )
    return source, target

  def rows(self, epoch: int) -> int:
    """Rows of an epoch."""
    return len(self._epoch(epoch).plan)

  def _epoch(self, epoch: int) -> "_Epoch":
    if epoch not in self._epochs:
      self._epochs = {number: old for number, old in self._epochs.items() if number >= epoch - 1}
      corpus = self._corpora(epoch)
      lengths = np.stack([corpus.sources.lengths, corpus.targets.lengths], axis=1)
      self._epochs[epoch] = _Epoch(corpus, plan(self._seed, epoch, lengths, *self._shape))
    return self._epochs[epoch]

  def _arrays(self, rows: list[tuple[list, list]]) -> dict[str, np.ndarray]:
    sources, targets = zip(*rows[self._share], strict=True)
    return pack(sources, targets, *self._shape)


class _Epoch(NamedTuple):
  """What is read in an epoch, and how it is packed."""

  corpus: Corpus
  plan: Plan

  def row(self, number: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The sources and the targets of a row."""
    pairs = self.plan.row(number)
    sides = (self.corpus.sources, self.corpus.targets)
    sources, targets = ([side[pair] for pair in pairs] for side in sides)
    return sources, targets

"""Batches as a function of (seed, position), for one process of several."""

from collections.abc import Iterator
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

  Rows follow each other over the end of an epoch, so no pair is dropped and every batch is full.

  Args:
    corpus: what is read.
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
    corpus: Corpus,
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
    self._corpus = corpus
    self._seed = seed
    self._shape = (source_length, target_length)
    self._batch_size = batch_size
    share = batch_size // process_count
    self._share = slice(process_index * share, (process_index + 1) * share)
    self._lengths = np.stack([corpus.sources.lengths, corpus.targets.lengths], axis=1)
    self._plans: dict[int, Plan] = {}

  def batch(self, position: Position) -> tuple[dict[str, np.ndarray], Position]:
    """This process's share of the batch at `position`, and the position after it."""
    epoch, row = position
    rows = []
    while len(rows) < self._batch_size:
      plan = self._plan(epoch)
      taken = min(len(plan) - row, self._batch_size - len(rows))
      rows += [plan.row(number) for number in range(row, row + taken)]
      row += taken
      if row == len(plan):
        epoch, row = epoch + 1, 0
    return self._arrays(rows), Position(epoch, row)

  def once(self) -> Iterator[dict[str, np.ndarray]]:
    """Every pair once; empty rows fill up the last batch."""
    plan = self._plan(0)
    for start in range(0, len(plan), self._batch_size):
      rows = [plan.row(r) for r in range(start, min(start + self._batch_size, len(plan)))]
      yield self._arrays(rows + [np.zeros(0, int)] * (self._batch_size - len(rows)))

  def density(self) -> tuple[float, float]:
    """Shares of real source and target tokens in the rows of the first epoch."""
    slots = len(self._plan(0)) * np.array(self._shape)
    source, target = self._lengths.sum(axis=0) / slots
    return float(source), float(target)

  def rows(self, epoch: int) -> int:
    """Rows of an epoch."""
    return len(self._plan(epoch))

  def _plan(self, epoch: int) -> Plan:
    if epoch not in self._plans:
      self._plans = {e: p for e, p in self._plans.items() if e >= epoch - 1}
      self._plans[epoch] = plan(self._seed, epoch, self._lengths, *self._shape)
    return self._plans[epoch]

  def _arrays(self, rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    mine = rows[self._share]
    sources = [[self._corpus.sources[pair] for pair in row] for row in mine]
    targets = [[self._corpus.targets[pair] for pair in row] for row in mine]
    return pack(sources, targets, *self._shape)

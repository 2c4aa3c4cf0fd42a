"""Batches as a function of (seed, position), for one process of several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfx_jax.data.corpus import Corpus
from tfx_jax.data.layout import Layout, Rows
from tfx_jax.errors import UserError


class Position(NamedTuple):
  """The next row to be read: everything a resumed run must know of its data."""

  epoch: int = 0
  row: int = 0


class Loader:
  """Batches of a corpus, without end or once through.

  The corpus may be another in every epoch, as subword regularisation makes it.

  Rows follow each other over the end of an epoch, so no pair is dropped and every batch is full.

  Args:
    corpora: epoch -> what is read in it.
    seed: of the run.
    layout: what rows are.
    batch_size: rows of a batch, over all processes.
    shards: which parts of each batch this process reads.
    shard_count: how many equal parts a batch has.

  Raises:
    UserError: if the batch does not divide into them.
  """

  def __init__(
    self,
    corpora: Callable[[int], Corpus],
    seed: int,
    layout: Layout,
    batch_size: int,
    shards: Sequence[int] = (0,),
    shard_count: int = 1,
  ):
    if batch_size % shard_count:
      raise UserError(f"data.batch_size={batch_size} does not divide over {shard_count} devices")
    self._corpora = corpora
    self._seed = seed
    self._layout = layout
    self._batch_size = batch_size
    size = batch_size // shard_count
    self._own = [row for shard in shards for row in range(shard * size, (shard + 1) * size)]
    self._epochs: dict[int, Rows] = {}

  def batch(self, position: Position) -> tuple[dict[str, np.ndarray], Position]:
    """This process's share of the batch at `position`, and the position after it."""
    places, after = self._places(position)
    return self._arrays([rows[number] for rows, number in places]), after

  def examples(self, position: Position) -> list[int]:
    """The numbers in its corpus of the examples in the whole batch at `position`."""
    places, _ = self._places(position)
    return [int(example) for rows, number in places for example in rows.examples(number)]

  def once(self) -> Iterator[dict[str, np.ndarray]]:
    """Everything once; empty rows fill up the last batch."""
    rows = self._layout.once(self._corpora(0))
    for start in range(0, len(rows), self._batch_size):
      part = [rows[number] for number in range(start, min(start + self._batch_size, len(rows)))]
      yield self._arrays(part + [self._layout.empty] * (self._batch_size - len(part)))

  @property
  def report(self) -> Mapping[str, Any]:
    """What was kept and dropped in making the first epoch's corpus."""
    return self._corpora(0).report

  def describe(self) -> str:
    """How full the rows of the first epoch are."""
    return self._layout.describe(self._corpora(0), self.rows(0))

  def rows(self, epoch: int) -> int:
    """Rows of an epoch."""
    return len(self._epoch(epoch))

  def _places(self, position: Position) -> tuple[list[tuple[Rows, int]], Position]:
    """For each row of a batch its epoch's rows and its number, and the position after it."""
    epoch, row = position
    places: list[tuple[Rows, int]] = []
    while len(places) < self._batch_size:
      present = self._epoch(epoch)
      taken = min(len(present) - row, self._batch_size - len(places))
      places += [(present, number) for number in range(row, row + taken)]
      row += taken
      if row == len(present):
        epoch, row = epoch + 1, 0
    return places, Position(epoch, row)

  def _epoch(self, epoch: int) -> Rows:
    if epoch not in self._epochs:
      self._epochs = {number: old for number, old in self._epochs.items() if number >= epoch - 1}
      self._epochs[epoch] = self._layout.epoch(self._corpora(epoch), self._seed, epoch)
    return self._epochs[epoch]

  def _arrays(self, rows: list[Any]) -> dict[str, np.ndarray]:
    return self._layout.arrays([rows[number] for number in self._own])

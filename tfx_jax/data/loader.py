"""Batches as a function of (seed, position), for one process of several."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tfx_jax.common.json_object import JsonObject
from tfx_jax.data.corpus import Corpus
from tfx_jax.data.layout import Layout
from tfx_jax.data.packing import Arrays
from tfx_jax.data.rows import Row, Rows
from tfx_jax.errors import UserError


class Position(NamedTuple):
  """The next row to be read: all that a resumed run needs to know of its data."""

  epoch: int = 0
  row: int = 0


class Loader:
  """Batches of a corpus, without end or once through.

  Rows of an epoch are followed by those of the next, so no pair is dropped and every batch is full.

  Args:
    corpora: epoch -> its corpus; with subword regularization epochs have different ones.
    seed: the run's.
    layout: how sequences become rows and arrays.
    batch_size: rows of a batch, over all processes.
    shards: the parts of each batch that this process reads.
    shard_count: number of equal parts of a batch.

  Raises:
    UserError: if the batch cannot be divided into them.
  """

  def __init__(
    self,
    corpora: Callable[[int], Corpus],
    seed: int,
    layout: Layout,
    batch_size: int,
    shards: Sequence[int] = (0,),
    shard_count: int = 1,
  ) -> None:
    if batch_size % shard_count:
      raise UserError(f"data.batch_size={batch_size} does not divide over {shard_count} devices")
    self._corpora = corpora
    self._seed = seed
    self._layout = layout
    self._batch_size = batch_size
    size = batch_size // shard_count
    self._local = [row for shard in shards for row in range(shard * size, (shard + 1) * size)]
    self._epochs: dict[int, Rows] = {}

  def batch(self, position: Position) -> tuple[Arrays, Position]:
    """Returns this process's share of the batch at `position`, and the position after it."""
    places, after = self._places(position)
    return self._arrays([rows[number] for rows, number in places]), after

  def examples(self, position: Position) -> list[int]:
    """Returns the numbers in its corpus of the examples in the whole batch at `position`."""
    places, _ = self._places(position)
    return [int(example) for rows, number in places for example in rows.examples(number)]

  def once(self) -> Iterator[Arrays]:
    """Yields batches that hold everything once; empty rows fill up the last one."""
    rows = self._layout.once(self._corpora(0))
    for start in range(0, len(rows), self._batch_size):
      part = [rows[number] for number in range(start, min(start + self._batch_size, len(rows)))]
      yield self._arrays(part + [self._layout.empty] * (self._batch_size - len(part)))

  @property
  def report(self) -> JsonObject:
    """The report of the first epoch's corpus, see `Corpus`."""
    return self._corpora(0).report

  def describe(self) -> str:
    """Returns how full the rows of the first epoch are, for people."""
    return self._layout.describe(self._corpora(0), self.rows(0))

  def rows(self, epoch: int) -> int:
    """Returns the number of rows of an epoch."""
    return len(self._epoch(epoch))

  def _places(self, position: Position) -> tuple[list[tuple[Rows, int]], Position]:
    """Returns (rows of the epoch, number) for each row of a batch, and the position after it."""
    epoch, row = position
    places: list[tuple[Rows, int]] = []
    while len(places) < self._batch_size:
      current = self._epoch(epoch)
      taken = min(len(current) - row, self._batch_size - len(places))
      places += [(current, number) for number in range(row, row + taken)]
      row += taken
      if row == len(current):
        epoch, row = epoch + 1, 0
    return places, Position(epoch, row)

  def _epoch(self, epoch: int) -> Rows:
    if epoch not in self._epochs:
      self._epochs = {number: rows for number, rows in self._epochs.items() if number >= epoch - 1}
      self._epochs[epoch] = self._layout.epoch(self._corpora(epoch), self._seed, epoch)
    return self._epochs[epoch]

  def _arrays(self, rows: list[Row]) -> Arrays:
    return self._layout.arrays([rows[number] for number in self._local])

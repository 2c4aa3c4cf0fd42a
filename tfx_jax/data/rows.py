"""The rows of an epoch, read from the corpus when they are asked for."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tfx_jax.data.corpus import Corpus
from tfx_jax.data.example import Pair
from tfx_jax.data.plan import Plan
from tfx_jax.data.ragged import Ragged

# The sources and the targets of the pairs that share a row.
PairRow = tuple[Sequence[np.ndarray], Sequence[np.ndarray]]
# The chains that share a row, each a list of pairs.
ChainRow = Sequence[Sequence[Pair]]


# One row of a batch, as the layout of these rows knows it.
Row = Any


@dataclasses.dataclass(frozen=True)
class SourceDropout:
  """Random sources of an epoch are replaced by empty ones, so that a model learns both.

  Attributes:
    rate: probability of each source.
    empty: an empty source, with special tokens.
    seed: the run's.
    epoch: number of the epoch.
  """

  rate: float
  empty: Sequence[int]
  seed: int
  epoch: int

  def __call__(self, row: int, sources: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the sources of row number `row`; each time the same."""
    draws = np.random.default_rng((self.seed, self.epoch, row)).random(len(sources))
    empty = np.asarray(self.empty, np.int32)
    return [
      empty if draw < self.rate else source for draw, source in zip(draws, sources, strict=True)
    ]


class Rows(Protocol):
  """A sequence of rows, each as the layout's `arrays` takes it."""

  def __len__(self) -> int: ...

  def __getitem__(self, number: int, /) -> Row: ...

  def examples(self, number: int, /) -> Sequence[int] | np.ndarray:
    """Returns the numbers in the corpus of the examples that are in a row, or partly in it."""
    ...


@dataclasses.dataclass(frozen=True)
class PairRows:
  """Rows of a plan of the pairs of a corpus; `dropout` of sources, or None."""

  corpus: Corpus
  plan: Plan
  dropout: SourceDropout | None = None

  def __len__(self) -> int:
    return len(self.plan)

  def __getitem__(self, number: int) -> PairRow:
    pairs = self.plan.row(number)
    sources = [self.corpus.sources[pair] for pair in pairs]
    if self.dropout is not None:
      sources = self.dropout(number, sources)
    return sources, [self.corpus.targets[pair] for pair in pairs]

  def examples(self, number: int) -> np.ndarray:
    """See `Rows`."""
    return self.plan.row(number)


@dataclasses.dataclass(frozen=True)
class ChainRows:
  """Rows of a plan of the chains of a corpus; `dropout` of the sources of single pairs, or None."""

  corpus: Corpus
  plan: Plan
  dropout: SourceDropout | None = None

  def __len__(self) -> int:
    return len(self.plan)

  def __getitem__(self, number: int) -> ChainRow:
    sources, targets = self.corpus.sources, self.corpus.targets
    chains = [[(sources[i], targets[i]) for i in chain] for chain in self._chains(number)]
    if self.dropout is None:
      return chains
    kept = self.dropout(number, [chain[-1][0] for chain in chains])
    return [
      [(source, chain[0][1])] if len(chain) == 1 else chain
      for source, chain in zip(kept, chains, strict=True)
    ]

  def examples(self, number: int) -> list[int]:
    """See `Rows`."""
    return list(itertools.chain.from_iterable(self._chains(number)))

  def _chains(self, number: int) -> list[range]:
    """Returns the numbers of the pairs of each chain in a row."""
    offsets = self.corpus.chains
    return [range(offsets[chain], offsets[chain + 1]) for chain in self.plan.row(number)]


@dataclasses.dataclass(frozen=True)
class StreamRows:
  """Rows that are cut out of a stream of tokens; a row shares a token with the next one.

  Attributes:
    texts: the sequences that make the stream.
    starts: int64 [rows], where each row starts in it.
    length: T; a row has T + 1 tokens, fewer at the end of the stream.
  """

  texts: Ragged
  starts: np.ndarray
  length: int

  def __len__(self) -> int:
    return len(self.starts)

  def __getitem__(self, number: int) -> np.ndarray:
    start = self.starts[number]
    return self.texts.values[start : start + self.length + 1]

  def examples(self, number: int) -> np.ndarray:
    """See `Rows`."""
    start = int(self.starts[number])
    ends = np.searchsorted(self.texts.offsets, [start, start + self.length], side="right")
    return np.arange(ends[0] - 1, min(ends[1], len(self.texts)))

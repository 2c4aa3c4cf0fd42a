"""Texts as one stream of tokens, for models that go on with whatever came before."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfx_jax.data.corpus import Corpus
from tfx_jax.data.layout import Arrays, Rows, Tokens, left_padded, rounded
from tfx_jax.data.packing import decoder_arrays
from tfx_jax.data.ragged import Ragged


@dataclasses.dataclass(frozen=True)
class StreamLayout:
  """All texts in one stream, cut into rows anywhere; each token is predicted from those before it.

  In every epoch the cuts are elsewhere. Nothing marks where a row begins, and what comes before it
  is not seen; EOS ends each text. A row is its T + 1 tokens.

  Attributes:
    length: T, tokens of a row.
  """

  length: int

  continues = cut_start = True

  @property
  def window(self) -> int:  # noqa: D102
    return self.length

  @property
  def empty(self) -> np.ndarray:  # noqa: D102
    return np.zeros(0, np.int32)

  def epoch(self, corpus: Corpus, seed: int, epoch: int) -> Rows:  # noqa: D102
    rng = np.random.default_rng([seed, epoch])
    predicted = len(corpus.targets.tokens) - 1
    first = rng.integers(min(self.length, max(predicted - self.length, 0) + 1))
    starts = np.arange(first, max(predicted - self.length, first) + 1, self.length)
    return _StreamRows(corpus.targets, rng.permutation(starts), self.length)

  def once(self, corpus: Corpus) -> Rows:  # noqa: D102
    starts = np.arange(0, max(len(corpus.targets.tokens) - 1, 1), self.length)
    return _StreamRows(corpus.targets, starts, self.length)

  def arrays(self, rows: Sequence[np.ndarray]) -> Arrays:  # noqa: D102
    inputs, targets = ([[row[part]] for row in rows] for part in (slice(-1), slice(1, None)))
    return decoder_arrays(inputs, targets, self.length)

  def prompt(self, ids: Tokens) -> list[int]:  # noqa: D102
    return [*ids]

  def prompts(self, prompts: Sequence[Tokens], length: int) -> Arrays:  # noqa: D102
    return left_padded(prompts, length)

  def pairs(self, sources: Sequence[Tokens], targets: Sequence[Tokens], rows: int) -> Arrays:
    """See `Layout`. The first token of a pair without a source is not predicted."""
    whole = [np.array([*s, *t]) for s, t in zip(sources, targets, strict=True)]
    laid = dataclasses.replace(self, length=rounded(max(map(len, whole))))
    batch = laid.arrays(whole + [self.empty] * (rows - len(whole)))
    for row, source in enumerate(sources):
      batch["weights"][row, : max(len(source) - 1, 0)] = 0
    return batch

  def source(self, ids: Tokens) -> list[int]:  # noqa: D102
    return [*ids]

  def target(self, ids: Tokens) -> list[int]:  # noqa: D102
    return [*ids]

  def describe(self, corpus: Corpus, num_rows: int) -> str:  # noqa: D102
    return f"{len(corpus.targets.tokens):,} tokens in rows of {self.length}"


@dataclasses.dataclass(frozen=True)
class _StreamRows(Sequence):
  """Rows that are pieces of a stream; neighbours share a token."""

  texts: Ragged
  starts: np.ndarray
  length: int

  def __len__(self) -> int:
    return len(self.starts)

  def __getitem__(self, number: int) -> np.ndarray:
    start = self.starts[number]
    return self.texts.tokens[start : start + self.length + 1]

  def examples(self, number: int) -> np.ndarray:
    """See `Rows`."""
    start = int(self.starts[number])
    ends = np.searchsorted(self.texts.offsets, [start, start + self.length], side="right")
    return np.arange(ends[0] - 1, min(ends[1], len(self.texts)))

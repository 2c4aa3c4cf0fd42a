"""Texts as one stream of tokens, for models that continue any text."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfx_jax.codecs.codec import Elements
from tfx_jax.data.corpus import Corpus
from tfx_jax.data.layout import left_padded, rounded
from tfx_jax.data.packing import Arrays, decoder_arrays
from tfx_jax.data.rows import Rows, StreamRows


@dataclasses.dataclass(frozen=True)
class StreamLayout:
  """All texts in one stream that is cut into rows; each token is predicted from those before it.

  Every epoch is cut at other places. No token says where a row starts, and a row does not see the
  one before it; each text ends with EOS. A row has T + 1 tokens, the inputs and the targets.

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
    predicted = len(corpus.targets.values) - 1
    first = rng.integers(min(self.length, max(predicted - self.length, 0) + 1))
    starts = np.arange(first, max(predicted - self.length, first) + 1, self.length)
    return StreamRows(corpus.targets, rng.permutation(starts), self.length)

  def once(self, corpus: Corpus) -> Rows:  # noqa: D102
    starts = np.arange(0, max(len(corpus.targets.values) - 1, 1), self.length)
    return StreamRows(corpus.targets, starts, self.length)

  def arrays(self, rows: Sequence[np.ndarray]) -> Arrays:  # noqa: D102
    inputs, targets = ([[row[part]] for row in rows] for part in (slice(-1), slice(1, None)))
    return decoder_arrays(inputs, targets, self.length)

  def prompt(self, elements: Elements) -> Elements:  # noqa: D102
    return [*elements]

  def prompts(self, prompts: Sequence[Elements], length: int) -> Arrays:  # noqa: D102
    return left_padded(prompts, length)

  def pairs(self, sources: Sequence[Elements], targets: Sequence[Elements], rows: int) -> Arrays:
    """See `Layout`. The first token of a pair without a source is not predicted."""
    sequences = [np.array([*s, *t]) for s, t in zip(sources, targets, strict=True)]
    layout = dataclasses.replace(self, length=rounded(max(map(len, sequences))))
    batch = layout.arrays(sequences + [self.empty] * (rows - len(sequences)))
    for row, source in enumerate(sources):
      batch["weights"][row, : max(len(source) - 1, 0)] = 0
    return batch

  def source(self, elements: Elements) -> Elements:  # noqa: D102
    return [*elements]

  def target(self, elements: Elements) -> Elements:  # noqa: D102
    return [*elements]

  def describe(self, corpus: Corpus, num_rows: int) -> str:  # noqa: D102
    return f"{len(corpus.targets.values):,} tokens in rows of {self.length}"

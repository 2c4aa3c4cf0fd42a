"""How token sequences become arrays: rows to learn from, prompts to go on from, pairs to score.

There is a layout for each way a model reads. All give the same few methods, so that loading,
generation and scoring need not ask which one it is.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tfx_jax.codecs.special_tokens import DEFAULT, SpecialTokens
from tfx_jax.data.chains import Pair
from tfx_jax.data.corpus import Corpus
from tfx_jax.data.packing import Plan, lay_out, pack, pack_sequences, plan

Arrays = dict[str, np.ndarray]
Tokens = Sequence[int]


class Rows(Protocol):
  """The rows of an epoch: a sequence that also knows what is in them."""

  def __len__(self) -> int: ...

  def __getitem__(self, number: int) -> Any: ...

  def examples(self, number: int) -> Sequence[int]:
    """The numbers in the corpus of the examples of which something is in a row."""
    ...


class Layout(Protocol):
  """What loading, generation and scoring ask.

  Attributes:
    continues: whether what is generated goes on with its input; otherwise it answers it.
    cut_start: whether an input that is too long loses its beginning, not its end.
    empty: the row that fills up a batch.
    window: most tokens that the model has learnt to read at once; None where that is not told.
  """

  continues: bool
  cut_start: bool

  @property
  def empty(self) -> Any: ...  # noqa: D102

  @property
  def window(self) -> int | None: ...  # noqa: D102

  def epoch(self, corpus: Corpus, seed: int, epoch: int) -> Rows:
    """The rows of an epoch, in its own order."""
    ...

  def once(self, corpus: Corpus) -> Rows:
    """The rows that hold everything once."""
    ...

  def arrays(self, rows: Sequence[Any]) -> Arrays:
    """The batch of some rows."""
    ...

  def prompt(self, ids: Tokens) -> list[int]:
    """What a model that is to generate reads of an input."""
    ...

  def prompts(self, prompts: Sequence[Tokens], length: int) -> Arrays:
    """The batch of prompts, each padded to `length`."""
    ...

  def pairs(self, sources: Sequence[Tokens], targets: Sequence[Tokens], rows: int) -> Arrays:
    """The batch of pairs, a row each, and empty rows; lengths are rounded, so shapes are few."""
    ...

  def source(self, ids: Tokens) -> list[int]:
    """The source of a pair that is scored."""
    ...

  def target(self, ids: Tokens) -> list[int]:
    """The target of a pair that is scored."""
    ...

  def describe(self, corpus: Corpus, num_rows: int) -> str:
    """How full the rows are."""
    ...


@dataclasses.dataclass(frozen=True)
class EncoderDecoderLayout:
  """Pairs share rows, sources for the encoder and targets for the decoder.

  Attributes:
    source_length: S, source tokens of a row.
    target_length: T, target tokens of a row.
    continues: see `Layout`.
    cut_start: see `Layout`.
    special_tokens: of sources and of targets.
  """

  source_length: int
  target_length: int
  continues: bool = False
  cut_start: bool = False
  special_tokens: tuple[SpecialTokens, SpecialTokens] = (DEFAULT, DEFAULT)

  window = None

  @property
  def empty(self) -> tuple[list, list]:  # noqa: D102
    return [], []

  def epoch(self, corpus: Corpus, seed: int, epoch: int) -> Rows:  # noqa: D102
    lengths = np.stack([corpus.sources.lengths, corpus.targets.lengths], axis=1)
    return _PairRows(corpus, plan(seed, epoch, lengths, self.source_length, self.target_length))

  def once(self, corpus: Corpus) -> Rows:  # noqa: D102
    return self.epoch(corpus, 0, 0)

  def arrays(self, rows: Sequence[tuple]) -> Arrays:  # noqa: D102
    sources, targets = zip(*rows, strict=True)
    return pack(sources, targets, self.source_length, self.target_length, self.special_tokens[1])

  def prompt(self, ids: Tokens) -> list[int]:  # noqa: D102
    return self.special_tokens[0].as_source(ids)

  def prompts(self, prompts: Sequence[Tokens], length: int) -> Arrays:
    """The sources [B,S], and as what the decoder has written what all targets begin with [B,P]."""
    inputs, segments, positions = lay_out([[prompt] for prompt in prompts], length)
    begin = np.array([[self.special_tokens[1].bos, *self.special_tokens[1].prefix]], np.int32)
    begin = np.repeat(begin, len(prompts), axis=0)
    return {
      "inputs": inputs,
      "inputs_segments": segments,
      "inputs_positions": positions,
      "prompt": begin,
      "prompt_segments": np.ones_like(begin),
      "prompt_positions": np.zeros_like(begin) + np.arange(begin.shape[1], dtype=np.int32),
    }

  def pairs(  # noqa: D102
    self, sources: Sequence[Tokens], targets: Sequence[Tokens], rows: int
  ) -> Arrays:
    source, target = (rounded(max(map(len, side))) for side in (sources, targets))
    laid = dataclasses.replace(self, source_length=source, target_length=target)
    return laid.arrays(_rows_of(sources, targets, rows))

  def source(self, ids: Tokens) -> list[int]:  # noqa: D102
    return self.special_tokens[0].as_source(ids)

  def target(self, ids: Tokens) -> list[int]:  # noqa: D102
    return self.special_tokens[1].as_target(ids)

  def describe(self, corpus: Corpus, num_rows: int) -> str:  # noqa: D102
    source, target = (
      f"{len(side.tokens) / (num_rows * length):.1%} of {length}"
      for side, length in (
        (corpus.sources, self.source_length),
        (corpus.targets, self.target_length),
      )
    )
    return f"{source} source and {target} target tokens real"


@dataclasses.dataclass(frozen=True)
class SequenceLayout:
  """Sources with their targets behind them share the rows of a decoder; targets have weight.

  Pairs that go on from each other share a sequence, see `tfx_jax.data.chains`.

  Attributes:
    length: T, tokens of a row.
    continues: see `Layout`.
    cut_start: see `Layout`.
    special_tokens: of sources and targets.
  """

  length: int
  continues: bool = False
  cut_start: bool = False
  special_tokens: SpecialTokens = DEFAULT

  @property
  def window(self) -> int:  # noqa: D102
    return self.length

  @property
  def empty(self) -> list:  # noqa: D102
    return []

  def epoch(self, corpus: Corpus, seed: int, epoch: int) -> Rows:  # noqa: D102
    # For packing, a chain is a target of its whole length, and its source takes no room.
    lengths = _chain_lengths(corpus)
    lengths = np.stack([np.zeros_like(lengths), lengths], axis=1)
    return _ChainRows(corpus, plan(seed, epoch, lengths, 1, self.length))

  def once(self, corpus: Corpus) -> Rows:  # noqa: D102
    return self.epoch(corpus, 0, 0)

  def arrays(self, rows: Sequence[Sequence[Sequence[Pair]]]) -> Arrays:  # noqa: D102
    return pack_sequences(rows, self.length, self.special_tokens)

  def prompt(self, ids: Tokens) -> list[int]:  # noqa: D102
    return [self.special_tokens.bos, *self.source(ids)]

  def prompts(self, prompts: Sequence[Tokens], length: int) -> Arrays:  # noqa: D102
    return left_padded(prompts, length)

  def pairs(  # noqa: D102
    self, sources: Sequence[Tokens], targets: Sequence[Tokens], rows: int
  ) -> Arrays:
    pairs = list(zip(sources, targets, strict=True))
    laid = dataclasses.replace(self, length=rounded(max(len(s) + len(t) for s, t in pairs)))
    return laid.arrays([[[pair]] for pair in pairs] + [self.empty] * (rows - len(pairs)))

  def source(self, ids: Tokens) -> list[int]:  # noqa: D102
    return [*ids] if self.continues else self.special_tokens.as_source(ids)

  def target(self, ids: Tokens) -> list[int]:  # noqa: D102
    return self.special_tokens.as_target(ids)

  def describe(self, corpus: Corpus, num_rows: int) -> str:  # noqa: D102
    real = _chain_lengths(corpus).sum() / (num_rows * self.length)
    return f"{real:.1%} of {self.length} tokens real"


def rounded(length: int) -> int:
  """The next power of two from 16 on."""
  return max(16, 1 << (length - 1).bit_length())


@dataclasses.dataclass(frozen=True)
class _PlannedRows(Sequence):
  """Rows of a plan."""

  corpus: Corpus
  plan: Plan

  def __len__(self) -> int:
    return len(self.plan)


class _PairRows(_PlannedRows):
  """Rows of several pairs: (sources, targets)."""

  def __getitem__(self, number: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    pairs = self.plan.row(number)
    sides = (self.corpus.sources, self.corpus.targets)
    sources, targets = ([side[pair] for pair in pairs] for side in sides)
    return sources, targets

  def examples(self, number: int) -> np.ndarray:
    """See `Rows`."""
    return self.plan.row(number)


class _ChainRows(_PlannedRows):
  """Rows of several chains, each its pairs."""

  def __getitem__(self, number: int) -> list[list[Pair]]:
    sources, targets = self.corpus.sources, self.corpus.targets
    return [[(sources[i], targets[i]) for i in chain] for chain in self._chains(number)]

  def examples(self, number: int) -> list[int]:
    """See `Rows`."""
    return list(itertools.chain.from_iterable(self._chains(number)))

  def _chains(self, number: int) -> list[range]:
    """The numbers of the pairs of each chain in a row."""
    offsets = self.corpus.chains
    return [range(offsets[chain], offsets[chain + 1]) for chain in self.plan.row(number)]


def _chain_lengths(corpus: Corpus) -> np.ndarray:
  """Tokens of each chain: those of its last pair."""
  return (corpus.sources.lengths + corpus.targets.lengths)[corpus.chains[1:] - 1]


def _rows_of(sources: Sequence[Tokens], targets: Sequence[Tokens], rows: int) -> list[tuple]:
  """A row for each pair, and empty ones."""
  pairs = [([np.asarray(s)], [np.asarray(t)]) for s, t in zip(sources, targets, strict=True)]
  return pairs + [([], [])] * (rows - len(pairs))


def left_padded(prompts: Sequence[Tokens], length: int) -> Arrays:
  """Prompts [B,length] that all end where the first new token comes."""
  tokens, segments, positions = lay_out([[prompt[::-1]] for prompt in prompts], length)[..., ::-1]
  last = segments.sum(axis=1, keepdims=True) - 1
  return {
    "prompt": tokens,
    "prompt_segments": segments,
    "prompt_positions": np.where(segments, last - positions, 0),
  }

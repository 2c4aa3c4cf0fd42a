"""Layouts: how sequences become arrays, of rows to train on, prompts to continue, pairs to score.

There is one layout for each way in which models are given examples. All have the same methods, so
that loading, generation and scoring do not depend on which one it is.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tfx_jax.codecs.codec import Element, Elements, Tokens
from tfx_jax.data.corpus import Corpus
from tfx_jax.data.packing import TOKENS, Arrays, lay_out, pack, pack_sequences
from tfx_jax.data.plan import plan
from tfx_jax.data.rows import ChainRow, ChainRows, PairRow, PairRows, Row, Rows, SourceDropout


class Layout(Protocol):
  """The methods that loading, generation and scoring call.

  Attributes:
    continues: whether an output continues its input; otherwise it answers it.
    cut_start: whether an input that is too long loses its start, not its end.
  """

  @property
  def continues(self) -> bool: ...  # noqa: D102

  @property
  def cut_start(self) -> bool: ...  # noqa: D102

  @property
  def empty(self) -> Row:
    """A row without sequences, which fills batches up."""
    ...

  @property
  def window(self) -> int | None:
    """Most elements of an input and output together in training; None if they are two sides."""
    ...

  def epoch(self, corpus: Corpus, seed: int, epoch: int, /) -> Rows:
    """Returns the rows of an epoch, in its order."""
    ...

  def once(self, corpus: Corpus, /) -> Rows:
    """Returns rows that hold everything once."""
    ...

  def arrays(self, rows: Sequence[Row], /) -> Arrays:
    """Returns the batch of some rows."""
    ...

  def prompt(self, elements: Elements, /) -> Elements:
    """Returns the sequence that a model is given of an input, with special tokens."""
    ...

  def prompts(self, prompts: Sequence[Elements], length: int, /) -> Arrays:
    """Returns the batch of prompts, each padded to `length`; see `models.model.Prompt`."""
    ...

  def pairs(self, sources: Sequence[Elements], targets: Sequence[Elements], rows: int, /) -> Arrays:
    """Returns the batch of pairs, one a row, and of empty rows, `rows` in all.

    Lengths are rounded, so that there are few shapes.
    """
    ...

  def source(self, elements: Elements, /) -> Elements:
    """Returns the source of a pair to score, with special tokens."""
    ...

  def target(self, elements: Elements, /) -> Elements:
    """Returns the target of a pair to score, with special tokens."""
    ...

  def describe(self, corpus: Corpus, num_rows: int, /) -> str:
    """Returns how full the rows are, for people."""
    ...


@dataclasses.dataclass(frozen=True)
class EncoderDecoderLayout:
  """Pairs share rows, the sources for the encoder and the targets for the decoder.

  Attributes:
    source_length: S, source elements of a row.
    target_length: T, target elements of a row.
    continues: see `Layout`.
    cut_start: see `Layout`.
    elements: elements of sources and of targets.
    source_dropout: probability with which a source is empty in training, see `SourceDropout`.
    target_multiple: each target begins at a multiple of this in its row.
  """

  source_length: int
  target_length: int
  continues: bool = False
  cut_start: bool = False
  elements: tuple[Element, Element] = (TOKENS, TOKENS)
  source_dropout: float = 0.0
  target_multiple: int = 1

  window = None

  @property
  def empty(self) -> PairRow:  # noqa: D102
    return [], []

  def epoch(self, corpus: Corpus, seed: int, epoch: int) -> Rows:  # noqa: D102
    targets = -(-corpus.targets.lengths // self.target_multiple) * self.target_multiple
    lengths = np.stack([corpus.sources.lengths, targets], axis=1)
    planned = plan(seed, epoch, lengths, self.source_length, self.target_length)
    return PairRows(corpus, planned, _dropout(self, seed, epoch))

  def once(self, corpus: Corpus) -> Rows:  # noqa: D102
    return dataclasses.replace(self, source_dropout=0.0).epoch(corpus, 0, 0)

  def arrays(self, rows: Sequence[PairRow]) -> Arrays:  # noqa: D102
    sources, targets = zip(*rows, strict=True)
    lengths = self.source_length, self.target_length
    return pack(sources, targets, *lengths, self.elements, self.target_multiple)

  def prompt(self, elements: Elements) -> Elements:  # noqa: D102
    return self.elements[0].as_source(elements)

  def prompts(self, prompts: Sequence[Elements], length: int) -> Arrays:
    """Returns sources [B,S], and as prompts [B,P] the first decoder input and the prefix."""
    source, target = self.elements
    inputs = lay_out([[prompt] for prompt in prompts], length, source)
    start = target.prompt()
    begin = lay_out([[start]] * len(prompts), len(start), target)
    return {
      "inputs": inputs.values,
      "inputs_segments": inputs.segments,
      "inputs_positions": inputs.positions,
      "prompt": begin.values,
      "prompt_segments": begin.segments,
      "prompt_positions": begin.positions,
    }

  def pairs(  # noqa: D102
    self, sources: Sequence[Elements], targets: Sequence[Elements], rows: int
  ) -> Arrays:
    source, target = (rounded(max(map(len, side))) for side in (sources, targets))
    layout = dataclasses.replace(self, source_length=source, target_length=target)
    pairs = [([np.asarray(s)], [np.asarray(t)]) for s, t in zip(sources, targets, strict=True)]
    return layout.arrays(pairs + [self.empty] * (rows - len(pairs)))

  def source(self, elements: Elements) -> Elements:  # noqa: D102
    return self.elements[0].as_source(elements)

  def target(self, elements: Elements) -> Elements:  # noqa: D102
    return self.elements[1].as_target(elements)

  def describe(self, corpus: Corpus, num_rows: int) -> str:  # noqa: D102
    source = len(corpus.sources.values) / (num_rows * self.source_length)
    target = len(corpus.targets.values) / (num_rows * self.target_length)
    unit = "tokens" if isinstance(self.elements[1], Tokens) else "frames"
    return (
      f"{source:.1%} of {self.source_length} source and "
      f"{target:.1%} of {self.target_length} target {unit} real"
    )


@dataclasses.dataclass(frozen=True)
class SequenceLayout:
  """Sources with their targets behind them share the rows of a decoder; targets have weight.

  Pairs that continue each other share a sequence, see `tfx_jax.data.chains`.

  Attributes:
    length: T, tokens of a row.
    continues: see `Layout`.
    cut_start: see `Layout`.
    element: element of sources and targets.
    source_dropout: probability with which a source is empty in training, see `SourceDropout`.
  """

  length: int
  continues: bool = False
  cut_start: bool = False
  element: Tokens = TOKENS
  source_dropout: float = 0.0

  @property
  def window(self) -> int:  # noqa: D102
    return self.length

  @property
  def empty(self) -> ChainRow:  # noqa: D102
    return []

  def epoch(self, corpus: Corpus, seed: int, epoch: int) -> Rows:  # noqa: D102
    # For the plan, a chain is a target of its whole length, with an empty source.
    lengths = _chain_lengths(corpus)
    lengths = np.stack([np.zeros_like(lengths), lengths], axis=1)
    planned = plan(seed, epoch, lengths, 1, self.length)
    return ChainRows(corpus, planned, _dropout(self, seed, epoch))

  def once(self, corpus: Corpus) -> Rows:  # noqa: D102
    return dataclasses.replace(self, source_dropout=0.0).epoch(corpus, 0, 0)

  def arrays(self, rows: Sequence[ChainRow]) -> Arrays:  # noqa: D102
    return pack_sequences(rows, self.length, self.element)

  def prompt(self, elements: Elements) -> Elements:  # noqa: D102
    return [*self.element.first_input().tolist(), *self.source(elements)]

  def prompts(self, prompts: Sequence[Elements], length: int) -> Arrays:  # noqa: D102
    return left_padded(prompts, length)

  def pairs(  # noqa: D102
    self, sources: Sequence[Elements], targets: Sequence[Elements], rows: int
  ) -> Arrays:
    pairs = list(zip(sources, targets, strict=True))
    longest = max(len(source) + len(target) for source, target in pairs)
    layout = dataclasses.replace(self, length=rounded(longest))
    return layout.arrays([[[pair]] for pair in pairs] + [self.empty] * (rows - len(pairs)))

  def source(self, elements: Elements) -> Elements:  # noqa: D102
    return [*elements] if self.continues else self.element.as_source(elements)

  def target(self, elements: Elements) -> Elements:  # noqa: D102
    return self.element.as_target(elements)

  def describe(self, corpus: Corpus, num_rows: int) -> str:  # noqa: D102
    real = _chain_lengths(corpus).sum() / (num_rows * self.length)
    return f"{real:.1%} of {self.length} tokens real"


def rounded(length: int) -> int:
  """Returns the next power of two, at least 16."""
  return max(16, 1 << (length - 1).bit_length())


def left_padded(prompts: Sequence[Elements], length: int) -> Arrays:
  """Returns prompts [B,length] that all end where the first new token follows."""
  # Laid out backwards from the left, then reversed.
  laid = lay_out([[prompt[::-1]] for prompt in prompts], length)
  tokens, segments, positions = (array[:, ::-1] for array in laid)
  last = segments.sum(axis=1, keepdims=True) - 1
  return {
    "prompt": tokens,
    "prompt_segments": segments,
    "prompt_positions": np.where(segments, last - positions, 0),
  }


def _dropout(
  layout: EncoderDecoderLayout | SequenceLayout, seed: int, epoch: int
) -> SourceDropout | None:
  if not layout.source_dropout:
    return None
  return SourceDropout(layout.source_dropout, list(layout.source([])), seed, epoch)


def _chain_lengths(corpus: Corpus) -> np.ndarray:
  """Returns the number of tokens of each chain: those of its last pair."""
  return (corpus.sources.lengths + corpus.targets.lengths)[corpus.chains[1:] - 1]

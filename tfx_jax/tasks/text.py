"""Text generation: texts without a source, continued from a beginning."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from tfx_jax.data.example import Example
from tfx_jax.metrics.corpus import CorpusMetric
from tfx_jax.sources.overlap import normalise

# Characters of a beginning that is continued, and of the true continuation shown beside it.
PROMPT, CONTINUATION = 100, 400


@dataclasses.dataclass(frozen=True)
class Text:
  """Texts in one field of a record. The only metrics are those of the loss.

  Attributes:
    target: the field.
  """

  target: str

  has_source = False
  metrics: ClassVar[Sequence[str]] = ()

  @property
  def identity(self) -> str:
    """A string that changes when the same records give other examples."""
    return f"text-{self.target}"

  def fields(self, split: str) -> tuple[str, ...]:
    """Returns the field of a record that the task needs."""
    return (self.target,)

  def examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """Yields the text of a record."""
    yield Example(None, record[self.target])

  def eval_examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """Yields beginnings, taken from all over a text, with their continuations as targets.

    The beginning of a text that is shorter than two of them is its first half.
    """
    text = record[self.target]
    prompt = min(PROMPT, max(1, len(text) // 2))
    for start in range(0, max(len(text) - PROMPT, 1), PROMPT + CONTINUATION):
      middle = start + prompt
      yield Example(text[start:middle], text[middle : middle + CONTINUATION])

  def overlap_keys(self, record: Mapping[str, str]) -> Iterator[str]:
    """Yields the text: records that share it overlap."""
    yield normalise(record[self.target])

  def score(
    self, predictions: Sequence[str], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """Returns no scores: another continuation is not wrong."""
    return {}

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Returns none."""
    return {}

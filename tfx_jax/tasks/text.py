"""Text generation: texts that are only written, and go on from a beginning."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from tfx_jax.data.example import Example
from tfx_jax.metrics.corpus import CorpusMetric
from tfx_jax.sources.overlap import normalise

# Samples go on from beginnings of this many characters; what really follows is shown beside them.
PROMPT, FOLLOWING = 100, 400


@dataclasses.dataclass(frozen=True)
class Text:
  """Text generation from one field of a record. Its figures are those of the loss.

  Attributes:
    target: the field that is written.
  """

  target: str

  has_source = False
  metrics = ()

  @property
  def identity(self) -> str:
    """What its examples of a record depend on."""
    return f"text-{self.target}"

  def fields(self, split: str) -> tuple[str]:
    """The field of a record that the task needs."""
    return (self.target,)

  def examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """The text of a record."""
    yield Example(None, record[self.target])

  def eval_examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """Beginnings in a text, and what follows them there."""
    text = record[self.target]
    for start in range(0, max(len(text) - PROMPT, 1), PROMPT + FOLLOWING):
      middle = start + PROMPT
      yield Example(text[start:middle], text[middle : middle + FOLLOWING])

  def overlap_keys(self, record: Mapping[str, str]) -> Iterator[str]:
    """The text: records that have it in common are alike."""
    yield normalise(record[self.target])

  def score(
    self, predictions: Sequence[str], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """None: what else might be written is not wrong."""
    return {}

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """None."""
    return {}

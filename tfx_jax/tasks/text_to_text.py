"""What tasks share that read one text and write another: two fields of a record."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from tfx_jax.data.example import Example
from tfx_jax.sources.overlap import normalise
from tfx_jax.tasks.scored import Scored


@dataclasses.dataclass(frozen=True)
class TextToText(Scored):
  """A text in one field of a record, to be turned into that of another.

  Attributes:
    source: the field that is read.
    target: the field that is written.
  """

  source: str
  target: str
  _: dataclasses.KW_ONLY
  metrics: Sequence[str] = ("bleu", "chrf")

  @property
  def identity(self) -> str:
    """What its examples of a record depend on."""
    return f"{self.source}-{self.target}"

  def fields(self, split: str) -> tuple[str, ...]:
    """The fields of a record that the task needs in a split."""
    return self.source, self.target

  def examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """What is read and written of a record."""
    yield Example(record[self.source], record[self.target], record.get("kind", ""))

  def eval_examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """What is decoded of a record: its examples."""
    return self.examples(record)

  def overlap_keys(self, record: Mapping[str, str]) -> Iterator[str]:
    """The source: records that have it in common are alike."""
    yield normalise(record[self.source])

"""Summarization of a text."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from tfx_jax.data.example import Example
from tfx_jax.metrics.rouge import ROUGE_METRICS
from tfx_jax.tasks.text_to_text import TextToText


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summarize(TextToText):
  """Summarization of one field of a record as another.

  Attributes:
    references: the fields of the summaries of a text in the test set, if it has several; they
      replace `target` there.
  """

  metrics: Sequence[str] = dataclasses.field(default=ROUGE_METRICS, kw_only=True)
  references: Sequence[str] = ()

  @property
  def identity(self) -> str:
    """A string that changes when the same records give other examples."""
    return "-".join((super().identity, *self.references))

  def fields(self, split: str) -> tuple[str, ...]:
    """Returns the fields of a record that a split needs."""
    if split == "test" and self.references:
      return self.source, *self.references
    return super().fields(split)

  def examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """Yields the example of a record; if that has `references`, the first is the target."""
    references = tuple(record[field] for field in self.references if field in record)
    if not references or len(references) < len(self.references):
      yield from super().examples(record)
    else:
      yield Example(record[self.source], references[0], record.get("kind", ""), references)

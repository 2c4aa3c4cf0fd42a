"""Base class of tasks whose source and target are two fields of a record."""

import dataclasses
from collections.abc import Iterator

from tfx_jax.data.example import Example
from tfx_jax.sources.overlap import normalise
from tfx_jax.sources.source import Record


@dataclasses.dataclass(frozen=True)
class Pairs:
  """The value in one field of a record as the source, that in another as the target.

  Attributes:
    source: the field of the source.
    target: the field of the target.
  """

  source: str
  target: str

  has_source = True

  @property
  def identity(self) -> str:
    """A string that changes when the same records give other examples."""
    return f"{self.source}-{self.target}"

  def fields(self, split: str) -> tuple[str, ...]:
    """Returns the fields of a record that a split needs."""
    return self.source, self.target

  def examples(self, record: Record) -> Iterator[Example]:
    """Yields the example of a record."""
    yield Example(record[self.source], record[self.target], record.get("kind", ""))

  def eval_examples(self, record: Record) -> Iterator[Example]:
    """Yields the example of a record."""
    return self.examples(record)

  def overlap_keys(self, record: Record) -> Iterator[str]:
    """Yields the source, which is a text: records that share it overlap."""
    yield normalise(record[self.source])

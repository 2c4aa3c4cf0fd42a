"""Captions: a text that describes a picture."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

from tfx_jax.errors import UserError
from tfx_jax.sources.source import Record
from tfx_jax.tasks.pairs import Pairs
from tfx_jax.tasks.scored import Scored


@dataclasses.dataclass(frozen=True)
class Describe(Pairs, Scored):
  """A picture in one field of a record as the source, a text in another as the target.

  Raises:
    UserError: for a metric that compares outputs with source texts, or an unknown one.
  """

  _: dataclasses.KW_ONLY
  metrics: Sequence[str] = ("bleu", "chrf", "exact_match")

  kinds: ClassVar[tuple[str, str]] = ("image", "text")

  def __post_init__(self) -> None:
    if "novelty" in self.metrics:
      raise UserError("task.metrics: novelty compares with source texts, and here are pictures")
    super().__post_init__()

  def overlap_keys(self, record: Record) -> Iterator[str]:
    """Yields the values of the picture: records that share it overlap."""
    yield record[self.source].tobytes().hex()

"""Captions: a text that describes a picture."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

from tfx_jax.sources.source import Record
from tfx_jax.tasks.text_to_text import TextToText


@dataclasses.dataclass(frozen=True)
class Describe(TextToText):
  """A picture in one field of a record as the source, a text in another as the target."""

  _: dataclasses.KW_ONLY
  metrics: Sequence[str] = ("bleu", "chrf", "exact_match")

  kinds: ClassVar = ("image", "text")

  @property
  def identity(self) -> str:
    """A string that changes when the same records give other examples."""
    return f"describe-{self.source}-{self.target}"

  def overlap_keys(self, record: Record) -> Iterator[str]:
    """Yields the values of the picture: records that share it overlap."""
    yield record[self.source].tobytes().hex()

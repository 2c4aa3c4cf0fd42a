"""Pictures that a model reads and gives back."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from tfx_jax.data.example import Example
from tfx_jax.metrics.corpus import CorpusMetric
from tfx_jax.metrics.image import check_names, image_metrics
from tfx_jax.sources.source import Record


@dataclasses.dataclass(frozen=True)
class Reconstruct:
  """The picture in one field of a record as the source and as the target.

  Attributes:
    source: the field.
    metrics: names of metrics, see `tfx_jax.metrics.image`.

  Raises:
    UserError: for an unknown metric.
  """

  source: str
  _: dataclasses.KW_ONLY
  metrics: Sequence[str] = ("psnr",)

  kinds: ClassVar[tuple[str, str]] = ("image", "image")
  has_source: ClassVar[bool] = True

  def __post_init__(self) -> None:
    check_names(self.metrics)

  @property
  def identity(self) -> str:
    """A string that changes when the same records give other examples."""
    return f"{self.source}-{self.source}"

  def fields(self, split: str) -> tuple[str, ...]:
    """Returns the fields of a record that a split needs."""
    return (self.source,)

  def examples(self, record: Record) -> Iterator[Example]:
    """Yields the example of a record."""
    yield Example(record[self.source], record[self.source], record.get("kind", ""))

  def eval_examples(self, record: Record) -> Iterator[Example]:
    """Yields the example of a record."""
    return self.examples(record)

  def overlap_keys(self, record: Record) -> Iterator[str]:
    """Yields the values of the picture: records that share it overlap."""
    yield record[self.source].tobytes().hex()

  def score(
    self, predictions: Sequence[np.ndarray | None], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """Returns the metrics of `predictions`, one picture for each of `examples`, by name."""
    kinds = [example.kind for example in examples] if any(e.kind for e in examples) else ()
    return image_metrics(self.metrics, predictions, [e.target for e in examples], kinds)

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Returns none: no metric of pictures has a significance test."""
    return {}

"""Pictures drawn from texts."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from tfx_jax.data.example import Example
from tfx_jax.metrics.corpus import CorpusMetric
from tfx_jax.metrics.image import check_names, image_metrics
from tfx_jax.sources.overlap import normalise
from tfx_jax.sources.source import Record


@dataclasses.dataclass(frozen=True)
class Draw:
  """A text in one field of a record as the source, a picture in another as the target.

  Attributes:
    source: the field of the text.
    target: the field of the picture.
    metrics: names of metrics, see `tfx_jax.metrics.image`.
  """

  source: str
  target: str
  _: dataclasses.KW_ONLY
  metrics: Sequence[str] = ("exact_match",)

  has_source = True
  kinds: ClassVar = ("text", "image")

  def __post_init__(self) -> None:
    check_names(self.metrics)

  @property
  def identity(self) -> str:
    """A string that changes when the same records give other examples."""
    return f"draw-{self.source}-{self.target}"

  def fields(self, split: str) -> tuple[str, ...]:
    """Returns the fields of a record that a split needs."""
    return self.source, self.target

  def examples(self, record: Record) -> Iterator[Example]:
    """Yields the example of a record."""
    yield Example(record[self.source], record[self.target], record.get("kind", ""))

  eval_examples = examples

  def overlap_keys(self, record: Record) -> Iterator[str]:
    """Yields the text: records that share it overlap."""
    yield normalise(record[self.source])

  def score(
    self, predictions: Sequence[np.ndarray], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """Returns the metrics of `predictions`, one for each of `examples`, by name."""
    return image_metrics(
      self.metrics,
      predictions,
      [example.target for example in examples],
      [example.kind for example in examples] if any(e.kind for e in examples) else (),
    )

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Returns none: systems that draw are not compared by bootstrap."""
    return {}

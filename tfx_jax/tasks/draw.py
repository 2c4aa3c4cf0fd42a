"""Pictures drawn from texts."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tfx_jax.data.example import Example
from tfx_jax.metrics.corpus import CorpusMetric
from tfx_jax.metrics.image import check_names, image_metrics
from tfx_jax.tasks.pairs import Pairs


@dataclasses.dataclass(frozen=True)
class Draw(Pairs):
  """A text in one field of a record as the source, a picture in another as the target.

  Attributes:
    metrics: names of metrics, see `tfx_jax.metrics.image`.

  Raises:
    UserError: for an unknown metric.
  """

  _: dataclasses.KW_ONLY
  metrics: Sequence[str] = ("exact_match",)

  kinds: ClassVar[tuple[str, str]] = ("text", "image")

  def __post_init__(self) -> None:
    check_names(self.metrics)

  def score(
    self, predictions: Sequence[np.ndarray | None], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """Returns the metrics of `predictions`, one for each of `examples`, by name.

    A prediction is a picture, uint8 [H,W,C], or None where nothing was generated.
    """
    return image_metrics(
      self.metrics,
      predictions,
      [example.target for example in examples],
      [example.kind for example in examples] if any(e.kind for e in examples) else (),
    )

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Returns none: no metric of pictures has a significance test."""
    return {}

"""What tasks share that are judged by the texts that are written."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfx_jax.data.example import Example
from tfx_jax.metrics.corpus import CORPUS_METRICS, CorpusMetric, corpus_metric
from tfx_jax.metrics.text import check_names, text_metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
  """Figures of decoded text.

  Attributes:
    metrics: their names, see `tfx_jax.metrics.text`.
    bleu_tokenize: sacreBLEU's tokenisation, of `bleu` and what is of its family.
    lowercase: whether BLEU and chrF ignore case.

  Raises:
    UserError: for a metric or a tokenisation that does not exist.
  """

  metrics: Sequence[str]
  bleu_tokenize: str = "13a"
  lowercase: bool = False

  def __post_init__(self):
    check_names(self.metrics)
    self.corpus_metrics()

  def figures(
    self, predictions: Sequence[str], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """The metrics of `predictions`, one for each of `examples`."""
    return text_metrics(
      self.metrics, predictions, [example.judged_by for example in examples], **self._scoring
    )

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Those of the metrics that systems can be compared by, by name."""
    return {
      name: corpus_metric(name, **self._scoring) for name in self.metrics if name in CORPUS_METRICS
    }

  @property
  def _scoring(self) -> dict[str, Any]:
    return {"tokenize": self.bleu_tokenize, "lowercase": self.lowercase}

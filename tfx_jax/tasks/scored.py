"""Base class of tasks whose outputs are scored by metrics of texts."""

import dataclasses
from collections.abc import Sequence

from tfx_jax.common.json_object import JsonObject
from tfx_jax.data.example import Example
from tfx_jax.errors import UserError, nearest
from tfx_jax.metrics.corpus import CORPUS_METRICS, CorpusMetric, corpus_metric
from tfx_jax.metrics.rouge import REFERENCE_RULES
from tfx_jax.metrics.text import check_names, text_metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
  """Metrics of generated texts.

  Attributes:
    metrics: names of metrics, see `tfx_jax.metrics.text`.
    bleu_tokenize: sacreBLEU's tokenization, for `bleu` and its variants.
    lowercase: whether BLEU and chrF ignore case.
    rouge_stemmer: whether ROUGE compares stems of words.
    rouge_references: how ROUGE combines the scores of several references, 'max' or 'mean'.

  Raises:
    UserError: for an unknown metric, tokenization or way to combine references.
  """

  metrics: Sequence[str]
  bleu_tokenize: str = "13a"
  lowercase: bool = False
  rouge_stemmer: bool = True
  rouge_references: str = "max"

  has_source = True

  def __post_init__(self) -> None:
    if self.rouge_references not in REFERENCE_RULES:
      known = nearest(self.rouge_references, REFERENCE_RULES)
      raise UserError(f"task.rouge_references='{self.rouge_references}'{known}")
    check_names(self.metrics)
    self.corpus_metrics()

  @property
  def language(self) -> str:
    """Language of outputs, which `bleu_moses` depends on."""
    return "en"

  def score(
    self, predictions: Sequence[str], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """Returns the metrics of `predictions`, one for each of `examples`, by name."""
    return text_metrics(
      self.metrics,
      predictions,
      [example.judged_by for example in examples],
      [example.kind for example in examples] if any(e.kind for e in examples) else (),
      [example.source for example in examples],
      {"stemmer": self.rouge_stemmer, "over_references": self.rouge_references},
      **self._scoring,
    )

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Returns those of the metrics by which systems can be compared, by name."""
    return {
      name: corpus_metric(name, **self._scoring) for name in self.metrics if name in CORPUS_METRICS
    }

  @property
  def _scoring(self) -> JsonObject:
    return {
      "tokenize": self.bleu_tokenize,
      "lowercase": self.lowercase,
      "language": self.language,
    }

"""Translation: one text in, the same in another language out."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from tfx_jax.data.example import Example
from tfx_jax.data.overlap import normalise
from tfx_jax.metrics.corpus import CORPUS_METRICS, CorpusMetric, corpus_metric
from tfx_jax.metrics.text import check_names, text_metrics


@dataclasses.dataclass(frozen=True)
class Translate:
  """Translation from one field of a record to another.

  Attributes:
    source: the field that is read.
    target: the field that is written; its name, or the part after the last dot of it, is taken
      for the language that `bleu_moses` needs to know.
    metrics: figures on decoded text, see `tfx_jax.metrics.text`.
    bleu_tokenize: sacreBLEU's tokenisation.
    lowercase: whether BLEU and chrF ignore case.
  """

  source: str
  target: str
  metrics: Sequence[str] = ("bleu", "chrf")
  bleu_tokenize: str = "13a"
  lowercase: bool = False

  reads = True

  def __post_init__(self):
    check_names(self.metrics)
    self.corpus_metrics()

  @property
  def identity(self) -> str:
    """What its examples of a record depend on."""
    return f"translate-{self.source}-{self.target}"

  def fields(self, split: str) -> tuple[str, str]:
    """The fields of a record that the task needs, source first."""
    return self.source, self.target

  def examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """What is read and written of a record."""
    yield Example(record[self.source], record[self.target], record.get("kind", ""))

  questions = examples

  def overlap_keys(self, record: Mapping[str, str]) -> Iterator[str]:
    """The source: records that have it in common are alike."""
    yield normalise(record[self.source])

  def figures(
    self, predictions: Sequence[str], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """The metrics of `predictions`, one for each of `examples`."""
    return text_metrics(
      self.metrics,
      predictions,
      [example.judged_by for example in examples],
      [example.kind for example in examples] if any(e.kind for e in examples) else (),
      **self._scoring,
    )

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Those of the metrics that systems can be compared by, by name."""
    return {
      name: corpus_metric(name, **self._scoring) for name in self.metrics if name in CORPUS_METRICS
    }

  @property
  def _scoring(self) -> dict[str, str | bool]:
    return {
      "tokenize": self.bleu_tokenize,
      "lowercase": self.lowercase,
      "language": self.target.rpartition(".")[2],
    }

"""Translation: one text in, the same in another language out."""

import dataclasses
from collections.abc import Mapping, Sequence

from tfx_jax import metrics
from tfx_jax.data.example import Example


@dataclasses.dataclass(frozen=True)
class Translate:
  """Translation from one field of a record to another.

  Attributes:
    source: the field that is read.
    target: the field that is written.
    metrics: figures on decoded text, see `tfx_jax.metrics.text_metrics`.
    bleu_tokenize: sacreBLEU's tokenisation.
    lowercase: whether BLEU and chrF ignore case.
  """

  source: str
  target: str
  metrics: Sequence[str] = ("bleu", "chrf")
  bleu_tokenize: str = "13a"
  lowercase: bool = False

  def __post_init__(self):
    metrics.check_names(self.metrics)
    if "bleu" in self.metrics:
      metrics.bleu(["a"], [["a"]], self.bleu_tokenize)

  @property
  def fields(self) -> tuple[str, str]:
    """The fields of a record that the task needs, source first."""
    return self.source, self.target

  def example(self, record: Mapping[str, str]) -> Example:
    """What is read and written of a record."""
    return Example(record[self.source], record[self.target], record.get("kind", ""))

  def figures(
    self, predictions: Sequence[str], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """The metrics of `predictions`, one for each of `examples`."""
    return metrics.text_metrics(
      self.metrics,
      predictions,
      [[example.target] for example in examples],
      [example.kind for example in examples] if any(e.kind for e in examples) else (),
      tokenize=self.bleu_tokenize,
      lowercase=self.lowercase,
    )

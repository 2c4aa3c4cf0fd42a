"""The contract of a task, also for one of your own: `task.name=package.module:Name`."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from tfx_jax.data.example import Example
from tfx_jax.metrics.corpus import CorpusMetric
from tfx_jax.sources.source import Record


class Task(Protocol):
  """Examples from records, and scores of outputs.

  A class that is a task is called with those keys of the config section `task` that it has
  arguments for. For `data.remove_overlap` it also needs `overlap_keys(record)`, which returns the
  texts that a training record must not share with a record of validation or test. If a side is
  not a text, it needs `kinds`: the kinds of source and target, 'text' or 'image'.

  Attributes:
    has_source: whether examples have a source; otherwise the model continues texts.
    metrics: names of the metrics of outputs; if there are none, only a few outputs are generated.
  """

  has_source: bool
  metrics: Sequence[str]

  @property
  def identity(self) -> str:
    """A string that changes when the same records give other examples."""
    ...

  def fields(self, split: str) -> tuple[str, ...]:
    """Returns the fields of a record that a split ('train', 'validation', 'test') needs."""
    ...

  def examples(self, record: Record) -> Iterator[Example]:
    """Yields the examples of a record to train on."""
    ...

  def eval_examples(self, record: Record) -> Iterator[Example]:
    """Yields the examples of a record to generate outputs for, in validation and test."""
    ...

  def score(
    self, predictions: Sequence[object], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """Returns the metrics of `predictions`, one for each of `examples`, by name."""
    ...

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Returns those of the metrics by which systems can be compared, by name."""
    ...

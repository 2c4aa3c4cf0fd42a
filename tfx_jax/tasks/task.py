"""What a task is asked for; a task of your own, `task.name=package.module:Name`, gives this too."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from tfx_jax.data.example import Example
from tfx_jax.metrics.corpus import CorpusMetric


class Task(Protocol):
  """What is read and written, and how outputs are judged.

  It is called with those keys of the section `task` that it has arguments for. For
  `data.remove_overlap` it needs `overlap_keys(record)`, the texts that a training record must not
  share with one that is validated or tested on.

  Attributes:
    has_source: whether there is something to read; texts that are only written have no source.
    metrics: names of figures on decoded text; without any, a few outputs are shown.
  """

  has_source: bool
  metrics: Sequence[str]

  @property
  def identity(self) -> str:
    """Changes when the same records give other examples."""
    ...

  def fields(self, split: str) -> tuple[str, ...]:
    """The fields of a record that are needed in 'train', 'validation' or 'test'."""
    ...

  def examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """What is learned from a record."""
    ...

  def eval_examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """What is decoded of a record of validation or test."""
    ...

  def score(
    self, predictions: Sequence[str], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """The metrics of predictions, one for each example."""
    ...

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Those of the metrics that systems can be compared by, by name."""
    ...

"""Figures of a model on a split: by loss over tokens, and by metrics of decoded text."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tfx_jax.common.heartbeat import beat
from tfx_jax.data.example import Example
from tfx_jax.data.loader import Loader
from tfx_jax.generation.generator import Generator
from tfx_jax.metrics import perplexity
from tfx_jax.metrics.corpus import CorpusMetric
from tfx_jax.parallel import Parallel


class Task(Protocol):
  """What an evaluation needs to know of a task."""

  def score(
    self, predictions: Sequence[str], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """The metrics of predictions."""
    ...

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Those of the metrics that systems can be compared by, by name."""
    ...


def loss_figures(
  loss_step: Callable, params: Any, loader: Loader, parallel: Parallel
) -> dict[str, float]:
  """The figures of the cross-entropy over all of a corpus, see `metrics/perplexity.py`."""
  parts = []
  for batch in loader.once():
    parts.append(loss_step(params, parallel.place(batch)))
    beat()
  whole = functools.reduce(lambda a, b: a.merge(b), parallel.fetch(parts))
  sizes = loader.report["target_bytes"], loader.report["target_words"]
  return perplexity.loss_metrics(float(whole.total), float(whole.count), *sizes)


def best_texts(
  generator: Generator,
  params: Any,
  examples: Sequence[Example],
  on_batch: Callable[[int], None] = lambda count: None,
) -> list[str]:
  """What the model writes for each example: its best hypothesis."""
  hypotheses = generator(params, [example.source or "" for example in examples], on_batch)
  return [best[0].text if best else "" for best in hypotheses]


def text_figures(
  generator: Generator,
  params: Any,
  task: Task,
  examples: Sequence[Example],
  on_batch: Callable[[int], None] = lambda count: None,
) -> tuple[dict[str, float | str], list[dict[str, str]]]:
  """The task's metrics on decoded text, and rows of source, reference and output to look at."""
  outputs = best_texts(generator, params, examples, on_batch)
  rows = [
    {"source": example.source, "reference": "\n".join(example.judged_by), "output": output}
    for example, output in zip(examples, outputs, strict=True)
  ]
  return task.score(outputs, examples), rows

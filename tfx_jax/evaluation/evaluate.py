"""Metrics of a model on a split: of its loss, and of the texts that it generates."""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

from tfx_jax.common.heartbeat import beat
from tfx_jax.data.example import Example
from tfx_jax.data.loader import Loader
from tfx_jax.generation.generator import Generator
from tfx_jax.metrics import perplexity
from tfx_jax.metrics.corpus import CorpusMetric
from tfx_jax.models.model import Params
from tfx_jax.parallel import Parallel


class Task(Protocol):
  """The methods of a task that an evaluation calls."""

  def score(
    self, predictions: Sequence[str], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """Returns the metrics of predictions."""
    ...

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Returns the metrics by which systems can be compared, by name."""
    ...


def loss_metrics(
  loss_step: Callable, params: Params, loader: Loader, parallel: Parallel
) -> dict[str, float]:
  """Returns the metrics of the cross-entropy over a whole corpus, see `metrics/perplexity.py`.

  Args:
    loss_step: computes the loss sums of a batch.
    params: parameters of the model.
    loader: the corpus.
    parallel: the mesh.
  """
  sums = []
  for batch in loader.once():
    sums.append(loss_step(params, parallel.place(batch)))
    beat()
  whole = functools.reduce(lambda a, b: a.merge(b), parallel.fetch(sums))
  sizes = loader.report.get("target_bytes"), loader.report.get("target_words")
  return perplexity.loss_metrics(float(whole.total), float(whole.count), *sizes)


def best_texts(
  generator: Generator,
  params: Params,
  examples: Sequence[Example],
  on_batch: Callable[[int], None] = lambda count: None,
) -> list[str]:
  """Returns the best text that the model generates for each example."""
  hypotheses = generator(params, [example.source or "" for example in examples], on_batch)
  return [best[0].text if best else "" for best in hypotheses]


def text_metrics(
  generator: Generator,
  params: Params,
  task: Task,
  examples: Sequence[Example],
  on_batch: Callable[[int], None] = lambda count: None,
) -> tuple[dict[str, float | str], list[dict[str, str]]]:
  """Returns the task's metrics of generated texts, and rows of source, reference and output.

  Args:
    generator: the generator.
    params: parameters of the model.
    task: the task.
    examples: the examples to generate for.
    on_batch: called after each batch with the number of examples in it.
  """
  outputs = best_texts(generator, params, examples, on_batch)
  rows = [
    {"source": example.source, "reference": "\n".join(example.judged_by), "output": output}
    for example, output in zip(examples, outputs, strict=True)
  ]
  return task.score(outputs, examples), rows

"""Metrics of a model on a split: of its loss, and of the outputs that it generates."""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

from tfx_jax.codecs.codec import AnyValue
from tfx_jax.common.heartbeat import beat
from tfx_jax.data.example import Example
from tfx_jax.data.loader import Loader
from tfx_jax.generation.any_generator import AnyGenerator
from tfx_jax.generation.generator import Hypothesis, Output
from tfx_jax.metrics import perplexity
from tfx_jax.metrics.corpus import CorpusMetric
from tfx_jax.models.model import Params
from tfx_jax.parallel import Parallel


class Task(Protocol):
  """The methods of a task that an evaluation calls."""

  def score(
    self, predictions: Sequence[AnyValue], examples: Sequence[Example]
  ) -> dict[str, float | str]:
    """Returns the metrics of predictions."""
    ...

  def corpus_metrics(self) -> dict[str, CorpusMetric]:
    """Returns the metrics by which systems can be compared, by name."""
    ...


def loss_metrics(
  loss_step: Callable, params: Params, loader: Loader, parallel: Parallel, *, exact: bool = True
) -> dict[str, float]:
  """Returns the metrics of the loss over a whole corpus, see `metrics/perplexity.py`.

  Args:
    loss_step: computes the loss sums of a batch.
    params: parameters of the model.
    loader: the corpus.
    parallel: the mesh.
    exact: whether the loss is a likelihood; otherwise there is no metric but `loss`.
  """
  sums = []
  for batch in loader.once():
    sums.append(loss_step(params, parallel.place(batch)))
    beat()
  whole = functools.reduce(lambda a, b: a.merge(b), parallel.fetch(sums))
  units = ("bytes", "words", "pictures", "values")
  sizes = {unit: loader.report.get(f"target_{unit}") for unit in units}
  known = {unit: size for unit, size in sizes.items() if exact and size is not None}
  metrics = perplexity.loss_metrics(float(whole.total), float(whole.count), known)
  return metrics if exact else {"loss": metrics["loss"]}


def best_outputs(
  generator: AnyGenerator,
  params: Params,
  examples: Sequence[Example],
  on_batch: Callable[[int], None] = lambda count: None,
) -> list[AnyValue]:
  """Returns the best output that the model generates for each example, such as a text."""
  inputs = ["" if example.source is None else example.source for example in examples]
  found = generator(params, inputs, on_batch)
  return [_value(best[0]) if best else "" for best in found]


def _value(output: Hypothesis | Output) -> AnyValue:
  return output.text if isinstance(output, Hypothesis) else output.value


def output_metrics(
  generator: AnyGenerator,
  params: Params,
  task: Task,
  examples: Sequence[Example],
  on_batch: Callable[[int], None] = lambda count: None,
) -> tuple[dict[str, float | str], list[dict[str, AnyValue]]]:
  """Returns the task's metrics of generated outputs, and rows of source, reference and output.

  The reference is None where it is the source itself.

  Args:
    generator: the generator.
    params: parameters of the model.
    task: the task.
    examples: the examples to generate for.
    on_batch: called after each batch with the number of examples in it.
  """
  outputs = best_outputs(generator, params, examples, on_batch)
  rows = [
    {"source": example.source, "reference": _reference(example), "output": output}
    for example, output in zip(examples, outputs, strict=True)
  ]
  return task.score(outputs, examples), rows


def _reference(example: Example) -> AnyValue:
  """Returns all references that are texts as one, of others the first if it is not the source."""
  first, *_ = references = example.judged_by
  if isinstance(first, str):
    return "\n".join(references)
  return None if first is example.source else first

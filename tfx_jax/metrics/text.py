"""Metrics of predicted texts by name, including functions of the user."""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from absl import logging

from tfx_jax.common.names import check_parameters, imported
from tfx_jax.errors import UserError
from tfx_jax.metrics.corpus import CORPUS_METRICS, check, corpus_metric
from tfx_jax.metrics.form import OUTPUT_METRICS, length_ratio, novelty
from tfx_jax.metrics.rouge import ROUGE_METRICS, rouge

TEXT_METRICS = (
  *(*CORPUS_METRICS, *ROUGE_METRICS, "exact_match", "length_ratio", "novelty"),
  *OUTPUT_METRICS,
)


def exact_match(
  predictions: Sequence[str], references: Sequence[Sequence[str]], kinds: Sequence[str] = ()
) -> dict[str, float]:
  """Percentage of predictions that equal one of their references, ignoring white space around them.

  Args:
    predictions: one text per example.
    references: one or several references for each prediction.
    kinds: a label per example, or nothing.

  Returns:
    'exact_match' over all examples and 'exact_match/KIND' over the examples of each kind, 0 to 100.

  Raises:
    UserError: if there are no predictions, or one has no reference.
  """
  check(predictions, references)
  hits = [
    prediction.strip() in {reference.strip() for reference in group}
    for prediction, group in zip(predictions, references, strict=True)
  ]
  return share_of_hits("exact_match", hits, kinds)


def share_of_hits(name: str, hits: Sequence[bool], kinds: Sequence[str] = ()) -> dict[str, float]:
  """Returns the percentage of hits as NAME, and as NAME/KIND that of each kind of example."""
  by_kind: dict[str, list[bool]] = {}
  if kinds:
    for kind, hit in zip(kinds, hits, strict=True):
      by_kind.setdefault(kind, []).append(hit)
  return {name: _percentage(hits)} | {
    f"{name}/{kind}": _percentage(by_kind[kind]) for kind in sorted(by_kind)
  }


def text_metrics(
  names: Sequence[str],
  predictions: Sequence[str],
  references: Sequence[Sequence[str]],
  kinds: Sequence[str] = (),
  sources: Sequence[str | None] = (),
  rouge_settings: Mapping[str, Any] | None = None,
  **settings: Any,
) -> dict[str, float | str]:
  """Computes all the metrics named.

  Args:
    names: metrics of TEXT_METRICS, or 'package.module:function' for a function of the user, which
      has the parameters `predictions` and `references` and returns a dict of metrics.
    predictions: one text per example.
    references: one or several references for each prediction.
    kinds: a label per example for `exact_match`, or nothing.
    sources: source text of each prediction for `novelty`, or nothing.
    rouge_settings: arguments of `rouge`: stemmer, over_references.
    **settings: arguments of `corpus_metric`: tokenize, lowercase, language.

  Returns:
    For example {'bleu': 37.9, 'bleu_signature': 'nrefs:1|case:…', 'exact_match': 93.1}.

  Raises:
    UserError: if a name is unknown, if texts are missing that a metric needs, or if a function of
      the user does not return a dict.
  """
  results: dict[str, float | str] = {}
  # All ROUGE metrics in one call, because splitting into words and stemming take most of the time.
  if rouge_names := [name for name in names if name in ROUGE_METRICS]:
    results |= rouge(rouge_names, predictions, references, **(rouge_settings or {}))
  for name in names:
    if name in CORPUS_METRICS:
      metric = corpus_metric(name, **settings)
      results[name], results[f"{name}_signature"] = metric.score(predictions, references)
      if not results[name] and metric.is_out_of_reach(references):
        _warn_of_zero(name, metric.scorer.max_ngram_order)
    elif name == "exact_match":
      results |= exact_match(predictions, references, kinds)
    elif name in OUTPUT_METRICS:
      results[name] = OUTPUT_METRICS[name](predictions)
    elif name == "length_ratio":
      results[name] = length_ratio(predictions, references)
    elif name == "novelty":
      results |= novelty(predictions, sources)
    elif name not in ROUGE_METRICS:
      results |= user_results(name, TEXT_METRICS, predictions, references)
  return results


def check_names(names: Sequence[str]) -> None:
  """Checks names of metrics, before any text has been predicted.

  Raises:
    UserError: if a name is unknown or its function cannot be imported.
  """
  for name in names:
    if name not in TEXT_METRICS:
      user_metric(name, TEXT_METRICS)


def user_metric(name: str, known: Collection[str]) -> Callable[..., Any]:
  """Returns the function that 'package.module:function' names.

  Args:
    name: the name.
    known: names of other metrics, for errors.

  Raises:
    UserError: if there is none, or it is not to be called with predictions and references.
  """
  function = imported("task.metrics", name, known)
  check_parameters("task.metrics", name, function, ("predictions", "references"))
  return function


def user_results(
  name: str, known: Collection[str], predictions: Sequence[Any], references: Sequence[Any]
) -> Mapping[str, float | str]:
  """Returns the metrics of a function 'package.module:function' of the user.

  Raises:
    UserError: if there is no such function, or it does not return a dict.
  """
  result = user_metric(name, known)(predictions=predictions, references=references)
  if not isinstance(result, Mapping):
    raise UserError(
      f"task.metrics='{name}' must return a dict of metrics, not {type(result).__name__}"
    )
  return result


@functools.cache  # only once, although texts are scored several times
def _warn_of_zero(name: str, order: int) -> None:
  logging.warning(
    "%s is 0 because it counts sequences of %d words, and no reference has as many: for short "
    "texts use task.metrics=(exact_match,chrf)",
    name,
    order,
  )


def _percentage(hits: Sequence[bool]) -> float:
  return 100.0 * sum(hits) / len(hits)

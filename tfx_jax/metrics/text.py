"""Figures of predicted texts by the names of metrics, the user's own among them."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfx_jax.errors import UserError, nearest
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
  """Percentage of predictions that equal one of their references, outer whitespace aside.

  Args:
    predictions: one text per example.
    references: for each prediction its one or several references.
    kinds: a label per example, or nothing.

  Returns:
    'exact_match' over all examples and 'exact_match/KIND' over those of each kind.
  """
  check(predictions, references)
  hits = [
    prediction.strip() in {reference.strip() for reference in group}
    for prediction, group in zip(predictions, references, strict=True)
  ]
  by_kind: dict[str, list[bool]] = {}
  if kinds:
    for kind, hit in zip(kinds, hits, strict=True):
      by_kind.setdefault(kind, []).append(hit)
  figures = {"exact_match": _percentage(hits)}
  return figures | {f"exact_match/{k}": _percentage(by_kind[k]) for k in sorted(by_kind)}


def text_metrics(
  names: Sequence[str],
  predictions: Sequence[str],
  references: Sequence[Sequence[str]],
  kinds: Sequence[str] = (),
  sources: Sequence[str | None] = (),
  rouge_settings: Mapping[str, Any] | None = None,
  **settings: Any,
) -> dict[str, float | str]:
  """Figures of all the metrics named, by the names that their libraries give them.

  Args:
    names: of TEXT_METRICS, or 'package.module:function' of the user's own, which is called with
      (predictions, references) and returns a dict of figures.
    predictions: one text per example.
    references: for each prediction its one or several references.
    kinds: a label per example for `exact_match`, or nothing.
    sources: what each prediction was made from, for `novelty`, or nothing.
    rouge_settings: of `rouge`: stemmer, over_references.
    **settings: of `corpus_metric`: tokenize, lowercase, language.

  Returns:
    For example {'bleu': 37.9, 'bleu_signature': 'nrefs:1|case:…', 'exact_match': 93.1}.

  Raises:
    UserError: an unknown name, or a function of the user's that returns no dict.
  """
  figures: dict[str, float | str] = {}
  # All of ROUGE at once: to find the words of texts and their stems takes most of the time.
  if asked := [name for name in names if name in ROUGE_METRICS]:
    figures |= rouge(asked, predictions, references, **(rouge_settings or {}))
  for name in names:
    if name in CORPUS_METRICS:
      metric = corpus_metric(name, **settings)
      figures[name], figures[f"{name}_signature"] = metric.score(predictions, references)
    elif name == "exact_match":
      figures |= exact_match(predictions, references, kinds)
    elif name in OUTPUT_METRICS:
      figures[name] = OUTPUT_METRICS[name](predictions)
    elif name == "length_ratio":
      figures[name] = length_ratio(predictions, references)
    elif name == "novelty":
      figures |= novelty(predictions, sources)
    elif name not in ROUGE_METRICS:
      result = own_metric(name)(predictions, references)
      if not isinstance(result, Mapping):
        raise UserError(
          f"metric '{name}' must return a dict of figures, not {type(result).__name__}"
        )
      figures |= result
  return figures


def check_names(names: Sequence[str]) -> None:
  """Raises the UserError that `text_metrics` would, before any text has been predicted."""
  for name in names:
    if name not in TEXT_METRICS:
      own_metric(name)


def own_metric(name: str) -> Callable[[Sequence[str], Sequence[Sequence[str]]], Any]:
  """Returns the function that 'package.module:function' names."""
  module_name, _, function_name = name.partition(":")
  if not (module_name and function_name):
    known = nearest(name, TEXT_METRICS)
    raise UserError(f"unknown metric '{name}'{known} (your own: 'package.module:function')")
  try:
    module = importlib.import_module(module_name)
  except ImportError as e:
    raise UserError(f"metric '{name}': cannot import '{module_name}': {e}") from e
  function = getattr(module, function_name, None)
  if not callable(function):
    functions = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
    raise UserError(
      f"metric '{name}': no function '{function_name}' in {module_name}"
      + nearest(function_name, functions)
    )
  return function


def _percentage(hits: Sequence[bool]) -> float:
  return 100.0 * sum(hits) / len(hits)

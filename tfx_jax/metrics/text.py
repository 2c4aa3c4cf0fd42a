"""Figures of predicted texts by the names of metrics, the user's own among them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfx_jax.errors import UserError
from tfx_jax.metrics.corpus import CORPUS_METRICS, check, corpus_metric
from tfx_jax.metrics.form import OUTPUT_METRICS, length_ratio, novelty
from tfx_jax.metrics.rouge import ROUGE_METRICS, rouge
from tfx_jax.names import check_parameters, imported

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
    names: of TEXT_METRICS, or 'package.module:function' of the user's own, which has the
      parameters `predictions` and `references` and returns a dict of figures.
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
      result = own_metric(name)(predictions=predictions, references=references)
      if not isinstance(result, Mapping):
        raise UserError(
          f"task.metrics='{name}' must return a dict of figures, not {type(result).__name__}"
        )
      figures |= result
  return figures


def check_names(names: Sequence[str]) -> None:
  """Raises the UserError that `text_metrics` would, before any text has been predicted."""
  for name in names:
    if name not in TEXT_METRICS:
      own_metric(name)


def own_metric(name: str) -> Callable[..., Any]:
  """Returns the function that 'package.module:function' names.

  Raises:
    UserError: if there is none, or it is not to be called with predictions and references.
  """
  function = imported("task.metrics", name, TEXT_METRICS)
  check_parameters("task.metrics", name, function, ("predictions", "references"))
  return function


def _percentage(hits: Sequence[bool]) -> float:
  return 100.0 * sum(hits) / len(hits)

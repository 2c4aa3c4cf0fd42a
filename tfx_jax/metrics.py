"""Scores of predicted texts, in percent as the field reports them: strings in, numbers out."""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfx_jax.errors import UserError, nearest

TEXT_METRICS = ("bleu", "chrf", "exact_match")


def bleu(
  predictions: Sequence[str],
  references: Sequence[Sequence[str]],
  tokenize: str = "13a",
  lowercase: bool = False,
) -> tuple[float, str]:
  """Corpus BLEU (Papineni et al., 2002) as sacreBLEU (Post, 2018) computes it.

  Args:
    predictions: one detokenized text per example.
    references: for each prediction its one or several references; their number may vary.
    tokenize: sacreBLEU's tokenizer: '13a', 'intl', 'zh', 'ja-mecab', 'ko-mecab', 'char', 'none' …
    lowercase: compare without case.

  Returns:
    The score in 0..100 and sacreBLEU's signature of how it was computed.

  Raises:
    UserError: an unknown tokenizer, one whose package or model is missing, or nothing to score.
  """
  from sacrebleu.metrics import BLEU

  _check(predictions, references)
  if tokenize not in BLEU.TOKENIZERS:
    raise UserError(f"unknown BLEU tokenizer '{tokenize}'{nearest(tokenize, BLEU.TOKENIZERS)}")
  try:
    metric = BLEU(tokenize=tokenize, lowercase=lowercase)
  except (ImportError, OSError, RuntimeError) as e:
    reason = " ".join(str(e).split())
    raise UserError(f"BLEU tokenizer '{tokenize}' is not available here: {reason}") from e
  return _score(metric, predictions, references)


def chrf(
  predictions: Sequence[str], references: Sequence[Sequence[str]], lowercase: bool = False
) -> tuple[float, str]:
  """Corpus chrF (Popović, 2015) as sacreBLEU computes it; arguments and result as for `bleu`."""
  from sacrebleu.metrics import CHRF

  _check(predictions, references)
  return _score(CHRF(lowercase=lowercase), predictions, references)


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
  _check(predictions, references)
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
  tokenize: str = "13a",
  lowercase: bool = False,
) -> dict[str, float | str]:
  """Figures of all the metrics named, by their names in lower case.

  Args:
    names: of TEXT_METRICS, or 'package.module:function' of the user's own, which is called with
      (predictions, references) and returns a dict of figures.
    predictions: one text per example.
    references: for each prediction its one or several references.
    kinds: a label per example for `exact_match`, or nothing.
    tokenize: as for `bleu`.
    lowercase: for `bleu` and `chrf`.

  Returns:
    For example {'bleu': 37.9, 'bleu_signature': 'nrefs:1|case:…', 'exact_match': 93.1}.

  Raises:
    UserError: an unknown name, or a function of the user's that returns no dict.
  """
  figures: dict[str, float | str] = {}
  for name in names:
    if name == "bleu":
      figures["bleu"], figures["bleu_signature"] = bleu(
        predictions, references, tokenize, lowercase
      )
    elif name == "chrf":
      figures["chrf"], figures["chrf_signature"] = chrf(predictions, references, lowercase)
    elif name == "exact_match":
      figures |= exact_match(predictions, references, kinds)
    else:
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


def perplexity(nats_per_token: float) -> float:
  """exp(mean cross-entropy in nats); inf where that is beyond a float."""
  try:
    return math.exp(nats_per_token)
  except OverflowError:
    return math.inf


def _check(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
  if not predictions:
    raise UserError("no predictions to score: the data split is empty")
  if len(predictions) != len(references):
    raise ValueError(f"{len(predictions)} predictions but {len(references)} lists of references")
  for number, group in enumerate(references, 1):
    if isinstance(group, str):
      raise TypeError("references must be a list of references for each prediction, not a text")
    if not group:
      raise UserError(f"example {number} has no reference to score against")


def _score(
  metric: Any, predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, str]:
  # sacreBLEU wants one stream per reference number, with None where an example has fewer.
  count = max(map(len, references))
  streams = [[g[i] if i < len(g) else None for g in references] for i in range(count)]
  return metric.corpus_score(list(predictions), streams).score, str(metric.get_signature())


def _percentage(hits: Sequence[bool]) -> float:
  return 100.0 * sum(hits) / len(hits)

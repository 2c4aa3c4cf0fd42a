"""Figures of a text's form: how much of it is its own, and how long it is."""

import re
from collections.abc import Sequence

from tfx_jax.errors import UserError
from tfx_jax.metrics.corpus import check

_WORD = re.compile(r"\w+")
_LONGEST = 4


def novelty(predictions: Sequence[str], sources: Sequence[str | None]) -> dict[str, float]:
  """Percentage of the predictions' n-grams that do not occur in their source (See et al., 2017).

  Of the corpus: n-grams are counted as often as they occur, over all predictions together, so that
  a longer one weighs more (the papers that report it, such as Narayan et al., 2018, table 1, say
  no more than "proportion"). Words are runs of letters and digits; case is ignored.

  Args:
    predictions: one text an example.
    sources: what each was made from.

  Returns:
    'novelty1' to 'novelty4'; 0 where no prediction has so many words.

  Raises:
    UserError: if there are no sources.
  """
  if len(sources) != len(predictions) or None in sources:
    raise UserError("metric 'novelty' compares with the source, and here there is none")
  novel, counts = [0] * _LONGEST, [0] * _LONGEST
  for prediction, source in zip(predictions, sources, strict=True):
    words, read = _words(prediction), _words(source)
    for i in range(_LONGEST):
      known, written = set(_ngrams(read, i + 1)), _ngrams(words, i + 1)
      novel[i] += sum(ngram not in known for ngram in written)
      counts[i] += len(written)
  return {f"novelty{i + 1}": 100 * novel[i] / max(counts[i], 1) for i in range(_LONGEST)}


def length_ratio(
  predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
  """Words of all predictions over words of all references; of several, their mean length counts.

  Args:
    predictions: one text an example.
    references: for each prediction its one or several references.

  Returns:
    'length_ratio': 1 where predictions are as long as references.

  Raises:
    UserError: if there is nothing to compare.
  """
  check(predictions, references)
  written = sum(len(_words(prediction)) for prediction in predictions)
  wanted = sum(sum(len(_words(text)) for text in group) / len(group) for group in references)
  return {"length_ratio": written / max(wanted, 1)}


def _words(text: str) -> list[str]:
  return _WORD.findall(text.lower())


def _ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
  return list(zip(*(words[i:] for i in range(n)), strict=False))

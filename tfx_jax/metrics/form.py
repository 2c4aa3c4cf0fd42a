"""Figures of the form of texts: how varied they are, how much is their own, and how long they are.

Words are sacreBLEU's 13a tokens, as in BLEU: punctuation marks are words, and case counts.
"""

import functools
from collections.abc import Callable, Sequence

from tfx_jax.errors import UserError
from tfx_jax.metrics.corpus import check, check_any

_LONGEST = 4


def distinct(predictions: Sequence[str], order: int) -> float:
  """Different n-grams per 100 n-grams of all outputs together (Li et al., 2016, arXiv:1510.03055).

  The paper divides by words for all n; here, as has become usual, by n-grams of the same n. The
  more outputs there are the lower it is, so only equally many of about the same length compare.

  Args:
    predictions: one text per example; no n-gram reaches from one into the next.
    order: n.

  Returns:
    0..100; 0 where no output has n words.

  Raises:
    UserError: if there are no predictions.
  """
  check_any(predictions)
  ngrams = [ngram for text in predictions for ngram in _ngrams(_words(text), order)]
  return 100 * len(set(ngrams)) / max(1, len(ngrams))


def mean_length(predictions: Sequence[str]) -> float:
  """Words of an output, on average.

  Raises:
    UserError: if there are no predictions.
  """
  check_any(predictions)
  return sum(len(_words(text)) for text in predictions) / len(predictions)


def length_ratio(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
  """Words of all predictions over words of all references; of several, their mean length counts.

  Args:
    predictions: one text an example.
    references: for each prediction its one or several references.

  Returns:
    1 where predictions are as long as references.

  Raises:
    UserError: if there is nothing to compare.
  """
  check(predictions, references)
  written = sum(len(_words(prediction)) for prediction in predictions)
  wanted = sum(sum(len(_words(text)) for text in group) / len(group) for group in references)
  return written / max(wanted, 1)


def novelty(predictions: Sequence[str], sources: Sequence[str | None]) -> dict[str, float]:
  """Percentage of the predictions' n-grams that do not occur in their source (See et al., 2017).

  Of the corpus: n-grams are counted as often as they occur, over all predictions together, so that
  a longer one weighs more (the papers that report it, such as Narayan et al., 2018, table 1, say
  no more than "proportion"). Here case is ignored: a word that begins a sentence is no new one.

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
    words, read = _words(prediction.lower()), _words(source.lower())
    for i in range(_LONGEST):
      known, written = set(_ngrams(read, i + 1)), _ngrams(words, i + 1)
      novel[i] += sum(ngram not in known for ngram in written)
      counts[i] += len(written)
  return {f"novelty{i + 1}": 100 * novel[i] / max(counts[i], 1) for i in range(_LONGEST)}


# Those of predictions alone.
OUTPUT_METRICS: dict[str, Callable[[Sequence[str]], float]] = {
  "distinct1": functools.partial(distinct, order=1),
  "distinct2": functools.partial(distinct, order=2),
  "length": mean_length,
}


def _words(text: str) -> list[str]:
  return _tokenizer()(text).split()


def _ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
  return list(zip(*(words[i:] for i in range(n)), strict=False))


@functools.cache
def _tokenizer() -> Callable[[str], str]:
  from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

  return Tokenizer13a()

"""Metrics of the form of texts: diversity (distinct-n), novelty and length.

Words are sacreBLEU's 13a tokens, as in BLEU: a punctuation mark is a word, and case matters.
"""

import functools
from collections.abc import Callable, Sequence

from tfx_jax.errors import UserError
from tfx_jax.metrics.corpus import check, check_predictions

# Longest n-grams of `novelty`.
_LONGEST = 4


def distinct(predictions: Sequence[str], order: int) -> float:
  """Percentage of distinct n-grams among the n-grams of all outputs together: distinct-n.

  Li et al. (2016, arXiv:1510.03055) divide by the number of words for every n. Here, as is usual
  now, the divisor is the number of n-grams. The more words there are, the lower the metric is, so
  compare only sets of about equally many outputs of about equal length.

  Args:
    predictions: one text per example; an n-gram never spans two of them.
    order: n.

  Returns:
    Percentage, 0 to 100; 0 if no output has n words.

  Raises:
    UserError: if there are no predictions.
  """
  check_predictions(predictions)
  ngrams = [ngram for text in predictions for ngram in _ngrams(_words(text), order)]
  return 100 * len(set(ngrams)) / max(1, len(ngrams))


def mean_length(predictions: Sequence[str]) -> float:
  """Mean number of words per output.

  Raises:
    UserError: if there are no predictions.
  """
  check_predictions(predictions)
  return sum(len(_words(text)) for text in predictions) / len(predictions)


def length_ratio(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
  """Number of words in all predictions divided by the number of words in all references.

  If an example has several references, their mean length counts. (The length ratio of sacreBLEU's
  verbose BLEU takes the closest reference instead.)

  Args:
    predictions: one text per example.
    references: one or several references for each prediction.

  Returns:
    Ratio; 1 means that predictions are as long as references.

  Raises:
    UserError: if there are no predictions, or one has no reference.
  """
  check(predictions, references)
  predicted = sum(len(_words(prediction)) for prediction in predictions)
  expected = sum(sum(len(_words(text)) for text in group) / len(group) for group in references)
  return predicted / max(expected, 1)


def novelty(predictions: Sequence[str], sources: Sequence[str | None]) -> dict[str, float]:
  """Percentage of novel n-grams: those of a prediction that do not occur in its source.

  See et al. (2017, arXiv:1704.04368, section 7.2). The counts are over the corpus: every occurrence
  counts, in all predictions together, so a longer prediction weighs more. (Papers that report the
  metric, such as Narayan et al., 2018, arXiv:1808.08745, table 1, only say "proportion".) Case is
  ignored, so that the first word of a sentence is not novel because of its capital letter.

  Args:
    predictions: one text per example.
    sources: source text of each prediction.

  Returns:
    'novelty1' to 'novelty4', 0 to 100; 0 if no prediction has that many words.

  Raises:
    UserError: if there are no sources.
  """
  known_sources = [source for source in sources if source is not None]
  if len(known_sources) != len(predictions):
    raise UserError("metric 'novelty' needs a source for each prediction, and there is none")
  novel, counts = [0] * _LONGEST, [0] * _LONGEST
  for prediction, source in zip(predictions, known_sources, strict=True):
    words, source_words = _words(prediction.lower()), _words(source.lower())
    for i in range(_LONGEST):
      known, ngrams = set(_ngrams(source_words, i + 1)), _ngrams(words, i + 1)
      novel[i] += sum(ngram not in known for ngram in ngrams)
      counts[i] += len(ngrams)
  return {f"novelty{i + 1}": 100 * novel[i] / max(counts[i], 1) for i in range(_LONGEST)}


# Metrics that need no references and no sources.
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

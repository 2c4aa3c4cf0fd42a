"""How varied and how long outputs are, whatever the references.

Words are sacreBLEU's 13a tokens, as in BLEU: punctuation marks are words, and case counts.
"""

import functools
from collections.abc import Callable, Sequence

from tfx_jax.metrics.corpus import check_any


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
  ngrams = [
    tuple(words[place : place + order])
    for words in map(_words, predictions)
    for place in range(len(words) - order + 1)
  ]
  return 100.0 * len(set(ngrams)) / max(1, len(ngrams))


def mean_length(predictions: Sequence[str]) -> float:
  """Words of an output, on average.

  Raises:
    UserError: if there are no predictions.
  """
  check_any(predictions)
  return sum(len(_words(text)) for text in predictions) / len(predictions)


DIVERSITY_METRICS: dict[str, Callable[[Sequence[str]], float]] = {
  "distinct1": functools.partial(distinct, order=1),
  "distinct2": functools.partial(distinct, order=2),
  "length": mean_length,
}


def _words(text: str) -> list[str]:
  return _tokenizer()(text).split()


@functools.cache
def _tokenizer() -> Callable[[str], str]:
  from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

  return Tokenizer13a()

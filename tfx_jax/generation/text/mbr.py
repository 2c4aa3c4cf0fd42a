"""Minimum Bayes risk decoding: the sample that is most like all other samples.

The expected utility of a text is the mean of its utility with each sample as the reference
(Kumar and Byrne 2004, section 2; sampled as in Eikema and Aziz 2020, arXiv:2005.10283, section 6).
The utility is sentence chrF (Popović 2015) as sacreBLEU computes it.
"""

import collections
from collections.abc import Sequence

import numpy as np

# sacreBLEU's defaults: n-grams of 1 to 6 characters, recall counts twice, spaces do not count.
ORDERS, BETA = range(1, 7), 2.0


def rank(samples: Sequence[str]) -> list[tuple[int, float]]:
  """Returns the distinct samples, best first, as (number, expected chrF in 0..100).

  The number is that of a text's first occurrence; of equally good texts the earlier one is first.
  """
  counts = collections.Counter(samples)
  texts, weights = list(counts), np.array(list(counts.values()))
  expected = pairwise_chrf(texts) @ weights / len(samples)
  order = np.argsort(-expected, kind="stable")
  return [(samples.index(texts[i]), float(expected[i])) for i in order]


def pairwise_chrf(texts: Sequence[str]) -> np.ndarray:
  """Returns the sentence chrF [N,N] of each text (rows) with each text as reference (columns).

  The n-grams of a text are counted once, not once for each pair. Precision and recall are averaged
  over the orders for which both texts have n-grams.
  """
  size = len(texts)
  precision, recall, orders = np.zeros((3, size, size))
  for order in ORDERS:
    counts = _count_ngrams(["".join(text.split()) for text in texts], order)
    totals = counts.sum(axis=1)
    matches = np.array([np.minimum(row, counts).sum(axis=1) for row in counts])
    both = (totals[:, None] > 0) & (totals > 0)
    precision += np.where(both, matches / np.maximum(totals[:, None], 1), 0.0)
    recall += np.where(both, matches / np.maximum(totals, 1), 0.0)
    orders += both
  precision, recall = precision / np.maximum(orders, 1), recall / np.maximum(orders, 1)
  weighted = BETA**2 * precision + recall
  return 100 * (1 + BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1.0)


def _count_ngrams(texts: Sequence[str], order: int) -> np.ndarray:
  """Returns how often each text contains each n-gram that any of them contains, int [N,G]."""
  ngrams = [[text[i : i + order] for i in range(len(text) - order + 1)] for text in texts]
  known = {ngram: i for i, ngram in enumerate(dict.fromkeys(n for row in ngrams for n in row))}
  numbers = [np.array([known[ngram] for ngram in row], int) for row in ngrams]
  return np.array([np.bincount(row, minlength=len(known)) for row in numbers])

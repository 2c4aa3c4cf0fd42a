import itertools
import random

import pytest

from tfx_jax.errors import UserError
from tfx_jax.metrics.diversity import DIVERSITY_METRICS, distinct, mean_length


def test_distinct_counts_over_all_outputs_together():
  outputs = ["a b a", "b a", "", "c"]
  assert distinct(outputs, 1) == 100 * 3 / 6  # a b c of a b a b a c
  assert distinct(outputs, 2) == 100 * 2 / 3  # ab ba of ab ba ba
  assert distinct(["a b", "c a b"], 2) == 100 * 2 / 3  # none reaches from one into the next
  assert distinct(["a", "", "b"], 2) == 0


def test_distinct_is_what_a_count_by_hand_gives():
  rng = random.Random(0)
  texts = [" ".join(rng.choices("abc", k=rng.randint(0, 6))) for _ in range(40)]
  for order in (1, 2, 3):
    seen, total = [], 0
    for text in texts:
      words = text.split()
      for gram in zip(*(itertools.islice(words, i, None) for i in range(order)), strict=False):
        total += 1
        if gram not in seen:
          seen.append(gram)
    assert distinct(texts, order) == pytest.approx(100 * len(seen) / total)


def test_words_are_those_of_bleu():
  assert mean_length(["Well, yes.", "Well , no !"]) == 4
  assert mean_length([""]) == 0
  assert distinct(["Yes, yes."], 1) == 100  # case counts
  assert distinct(["yes, yes,"], 1) == 50


@pytest.mark.parametrize("name", DIVERSITY_METRICS)
def test_nothing_to_score_is_told(name):
  with pytest.raises(UserError, match="split is empty"):
    DIVERSITY_METRICS[name]([])

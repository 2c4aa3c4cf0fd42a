import itertools
import random

import pytest

from tfx_jax.errors import UserError
from tfx_jax.metrics.form import OUTPUT_METRICS, distinct, length_ratio, mean_length, novelty


def test_distinct_counts_over_all_outputs_together():
  outputs = ["a b a", "b a", "", "c"]
  assert distinct(outputs, 1) == 100 * 3 / 6  # a b c of a b a b a c
  assert distinct(outputs, 2) == 100 * 2 / 3  # ab ba of ab ba ba
  assert distinct(["a b", "c a b"], 2) == 100 * 2 / 3  # no pair spans two outputs
  assert distinct(["a", "", "b"], 2) == 0


def test_distinct_equals_a_count_by_hand():
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
  assert distinct(["Yes, yes."], 1) == 100  # case matters
  assert distinct(["yes, yes,"], 1) == 50


@pytest.mark.parametrize("name", OUTPUT_METRICS)
def test_no_predictions_are_an_error(name):
  with pytest.raises(UserError, match="split is empty"):
    OUTPUT_METRICS[name]([])


def test_novelty_is_counted_over_the_corpus():
  # Of the pairs "the cat", "cat sat", "sat down" and "big cat" only the first is in its source.
  scores = novelty(["The cat sat down", "Big cat"], ["the CAT is down . sat", "cat, big"])
  assert scores == {
    "novelty1": 0,
    "novelty2": pytest.approx(100 * 3 / 4),
    "novelty3": 100,
    "novelty4": 100,
  }


def test_copies_and_empty_texts_have_no_novelty():
  zeros = {f"novelty{n}": 0 for n in range(1, 5)}
  assert novelty(["a b c d e f"], ["x a b c d e f y"]) == zeros
  assert novelty([""], ["a b"]) == novelty(["one"], ["one"]) == zeros
  assert novelty(["a a b"], ["b"])["novelty1"] == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("sources", [(), [None]])
def test_novelty_needs_a_source(sources):
  with pytest.raises(UserError, match="'novelty' needs a source for each prediction"):
    novelty(["a"], sources)


def test_length_ratio_is_counted_over_the_corpus():
  assert length_ratio(["a b c", "d."], [["a b"], ["c d e f"]]) == 5 / 6
  assert length_ratio(["a b c"], [["a b", "a b c d"]]) == 1
  assert length_ratio(["a"], [[""]]) == 1

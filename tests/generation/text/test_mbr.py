"""Minimum Bayes risk against sacreBLEU, pair by pair."""

import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from tfx_jax.generation.text import mbr

TEXTS = [
  *("a dog runs", "a dog ran", "dogs run", "", "a", "Katze", "a dog runs", " a  dog runs", "aa a"),
  *("a dog runs over the road", "a dog ran", "a dog runs", "ab"),
]


def naive(candidate, references):
  return [CHRF().sentence_score(candidate, [reference]).score for reference in references]


def test_pairs_have_the_chrf_of_sacrebleu():
  found = mbr.pairwise_chrf(TEXTS)
  np.testing.assert_allclose(found, [naive(text, TEXTS) for text in TEXTS], atol=1e-9)
  assert abs(found - found.T).max() > 1, "chrF is not symmetric"


@pytest.mark.parametrize("seed", range(4))
def test_ranks_are_those_of_a_double_loop(seed):
  rng = np.random.default_rng(seed)
  samples = ["".join(rng.choice(list("ab c"), rng.integers(0, 9))) for _ in range(30)]
  expected = {text: np.mean(naive(text, samples)) for text in dict.fromkeys(samples)}
  found = mbr.rank(samples)
  assert len(expected) < 30 and len(found) == len(expected)
  assert sorted(samples[i] for i, _ in found) == sorted(expected)
  for i, score in found:
    assert score == pytest.approx(expected[samples[i]], abs=1e-9)
    assert i == samples.index(samples[i])
  scores = [score for _, score in found]
  assert scores == sorted(scores, reverse=True)


def test_duplicates_count_as_often_as_they_were_drawn():
  assert mbr.rank(["abc", "xyz"])[0][0] == 0
  ranked = mbr.rank(["abc", "xyz", "xyz"])
  assert ranked == [(1, pytest.approx(200 / 3)), (0, pytest.approx(100 / 3))]


def test_empty_texts():
  assert mbr.rank(["", ""]) == [(0, 0.0)]
  assert mbr.rank(["", "a"]) == [(1, 50.0), (0, 0.0)]

import pytest

from tfx_jax.errors import UserError
from tfx_jax.metrics.text_shape import length_ratio, novelty


def test_novelty_counts_n_grams_of_the_corpus_that_the_source_has_not():
  # Pairs: The cat | cat sat | sat down, of which the source has the first; then big cat, twice new.
  figures = novelty(["The cat sat down", "Big cat!"], ["the CAT is down. sat", "cat, big"])
  assert figures == {
    "novelty1": 0,
    "novelty2": pytest.approx(100 * 3 / 4),
    "novelty3": 100,
    "novelty4": 100,
  }


def test_a_copy_has_no_novelty_and_no_words_none_either():
  zeros = {f"novelty{n}": 0 for n in range(1, 5)}
  assert novelty(["a b c d e f"], ["x a b c d e f y"]) == zeros
  assert novelty([""], ["a b"]) == novelty(["one"], ["one"]) == zeros
  assert novelty(["a a b"], ["b"])["novelty1"] == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("sources", [(), [None]])
def test_novelty_needs_a_source(sources):
  with pytest.raises(UserError, match="'novelty' compares with the source"):
    novelty(["a"], sources)


def test_length_ratio_is_of_words_of_all_texts():
  assert length_ratio(["a b c", "d."], [["a b"], ["c d e f"]]) == {"length_ratio": 4 / 6}
  assert length_ratio(["a b c"], [["a b", "a b c d"]]) == {"length_ratio": 1}
  assert length_ratio(["a"], [[""]]) == {"length_ratio": 1}

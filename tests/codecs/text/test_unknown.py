"""Characters that a tokenizer does not know."""

import pytest

from tfx_jax.codecs.text.loading import train_tokenizer
from tfx_jax.codecs.text.unknown import describe_unknown, unknown_characters

TEXTS = ["ein haus", "zwei mäuse", "ein baum"] * 9
KINDS = ("unigram", "bpe", "characters", "bytes")


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
  return train_tokenizer(TEXTS, request.param, 40, 1.0, "nmt_nfkc", False, 0)


def test_unknown_characters_are_found_once_in_each_text(tokenizer):
  found = unknown_characters(tokenizer, ["Hallo haus", "ein haus", "", "QuQ ä"])
  if tokenizer.fingerprint == "bytes":
    assert found == [""] * 4
  else:
    assert found == ["Hlo", "", "", "Q"]


def test_what_normalization_makes_known_is_known():
  tokenizer = train_tokenizer(TEXTS, "bpe", 40, 1.0, "nmt_nfkc", False, 0)
  assert unknown_characters(tokenizer, ["\uff45in", "ma\u0308use", "ein\thaus"]) == [""] * 3


def test_with_byte_fallback_nothing_is_unknown():
  tokenizer = train_tokenizer(TEXTS, "bpe", 300, 1.0, "nmt_nfkc", True, 0)
  assert describe_unknown(tokenizer, ["Hallo 今天"]) == ""


def test_the_line_counts_inputs_and_names_characters(tokenizer):
  if tokenizer.fingerprint == "bytes":
    return
  assert describe_unknown(tokenizer, ["ein haus", "Haus", "", "", "ein"]) == (
    "1 of 5 inputs holds characters that the tokenizer does not know: H"
  )
  many = "".join(map(chr, range(0x4E00, 0x4E1E)))
  assert describe_unknown(tokenizer, ["Haus", many]) == (
    f"2 of 2 inputs hold characters that the tokenizer does not know: H {' '.join(many[:19])} and "
    "11 more"
  )

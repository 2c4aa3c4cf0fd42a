import pytest

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.codecs.text.tokenizer import ByteTokenizer
from tfx_jax.data.example import Example
from tfx_jax.data.fitting import cut, encoded, kept


@pytest.mark.parametrize(
  ("long_sources", "expected"),
  [
    ("drop", "too_long"),
    ("cut_end", [([5, 6, EOS], [9, EOS])]),
    ("cut_start", [([7, 8, EOS], [9, EOS])]),
  ],
)
def test_a_source_that_is_too_long(long_sources, expected):
  assert kept([5, 6, 7, 8], [9], 3, 2, long_sources, False) == expected
  assert kept([5, 6], [9], 3, 2, long_sources, False) == [([5, 6, EOS], [9, EOS])]
  assert kept([5], [9, 9], 3, 2, long_sources, False) == "too_long"


def test_a_side_that_is_empty():
  assert kept([], [9], 3, 3, "cut_end", False) == "empty" == kept([5], [], 3, 3, "drop", False)


@pytest.mark.parametrize("context", [False, True])
def test_a_text_without_a_source_is_split(context):
  text = list(range(10, 21))
  pieces = kept(None, text, 4, 3, "drop", context)
  assert [token for _, piece in pieces for token in piece] == [*text, EOS]
  assert {len(piece) for _, piece in pieces[:-1]} == {3}
  sources = [source for source, _ in pieces]
  if context:
    assert sources == [[EOS], [10, 11, 12, EOS], [13, 14, 15, EOS], [16, 17, 18, EOS]]
  else:
    assert sources == [[]] * 4
  assert kept(None, text, 4, 0, "drop", False) == [([], [*text, EOS])]


def test_cutting():
  assert cut([1, 2, 3], 3, True) == cut([1, 2, 3], 3, False) == [1, 2, 3]
  assert cut([1, 2, 3], 2, True) == [2, 3] and cut([1, 2, 3], 2, False) == [1, 2]
  assert cut([1], 0, True) == cut([1], 0, False) == []


def test_blank_texts_have_no_tokens():
  tokenizer = ByteTokenizer()
  examples = [Example("a", "b"), Example(" ", "\t"), Example(None, "c")]
  found = [item[1:] for item in encoded(examples, tokenizer, tokenizer)]
  assert found == [([101], [102]), ([], []), (None, [103])]

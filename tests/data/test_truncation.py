import numpy as np
import pytest

from tfx_jax.codecs.codec import Frames, Tokens
from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.data.truncation import Truncation, cut

TOKENS = Tokens(90), Tokens(90)


@pytest.mark.parametrize(
  ("long_sources", "expected"),
  [
    ("drop", "too_long"),
    ("cut_end", [([5, 6, EOS], [9, EOS])]),
    ("cut_start", [([7, 8, EOS], [9, EOS])]),
  ],
)
def test_a_source_that_is_too_long(long_sources, expected):
  truncation = Truncation(3, 2, long_sources)
  assert truncation.pairs([5, 6, 7, 8], [9], TOKENS) == expected
  assert truncation.pairs([5, 6], [9], TOKENS) == [([5, 6, EOS], [9, EOS])]
  assert truncation.pairs([5], [9, 9], TOKENS) == "too_long"
  assert truncation.cuts([5, 6, 7], TOKENS[0]) and not truncation.cuts([5, 6], TOKENS[0])


def test_a_side_that_is_empty():
  assert Truncation(3, 3, "cut_end").pairs([], [9], TOKENS) == "empty"
  assert Truncation(3, 3).pairs([5], [], TOKENS) == "empty"


@pytest.mark.parametrize("context", [False, True])
def test_a_target_without_a_source_is_split_into_chunks(context):
  text = list(range(10, 21))
  pairs = Truncation(4, 3, context=context).pairs(None, text, TOKENS)
  assert [token for _, chunk in pairs for token in chunk] == [*text, EOS]
  assert {len(chunk) for _, chunk in pairs[:-1]} == {3}
  sources = [source for source, _ in pairs]
  if context:
    assert sources == [[EOS], [10, 11, 12, EOS], [13, 14, 15, EOS], [16, 17, 18, EOS]]
  else:
    assert sources == [[]] * 4
  assert Truncation(4, 0).pairs(None, text, TOKENS) == [([], [*text, EOS])]


def test_frames_are_truncated_like_tokens_but_have_no_special_ones():
  frames = np.arange(8, dtype=np.float32).reshape(4, 2)
  elements = Frames(2), Frames(2)
  ((source, target),) = Truncation(3, 4, "cut_start").pairs(frames, frames, elements)
  assert source.tolist() == frames[1:].tolist() and target.tolist() == frames.tolist()
  assert Truncation(3, 4).pairs(frames, frames, elements) == "too_long"
  assert Truncation(4, 3).pairs(frames, frames, elements) == "too_long"
  assert Truncation(4, 4).pairs(frames[:0], frames, elements) == "empty"
  chunks = Truncation(2, 3, context=True).pairs(None, frames, elements)
  assert [len(chunk) for _, chunk in chunks] == [3, 1]
  assert chunks[1][0].tolist() == frames[1:3].tolist()


def test_cutting():
  assert cut([1, 2, 3], 3, True) == cut([1, 2, 3], 3, False) == [1, 2, 3]
  assert cut([1, 2, 3], 2, True) == [2, 3] and cut([1, 2, 3], 2, False) == [1, 2]
  assert cut([1], 0, True) == cut([1], 0, False) == []

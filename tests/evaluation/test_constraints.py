import numpy as np
import pytest

from tfx_jax.data.tokenizer import BOS, EOS, PAD, UNK, ByteTokenizer, CharacterTokenizer
from tfx_jax.errors import UserError
from tfx_jax.evaluation.constraints import encode_prefix, encode_prefixes, forbidden_mask

LETTERS = CharacterTokenizer("abc ")


def failure(function, *args):
  with pytest.raises(UserError) as info:
    function(*args)
  assert "\n" not in str(info.value)
  return str(info.value)


def test_forbidden_pieces_are_named_as_the_tokenizer_prints_them():
  assert np.flatnonzero(forbidden_mask(LETTERS, ())).tolist() == [PAD, BOS]
  assert np.flatnonzero(forbidden_mask(LETTERS, ["<unk>", "b"])).tolist() == [PAD, UNK, BOS, 5]
  mask = forbidden_mask(ByteTokenizer(), ("<0x0A>", "z"))
  assert np.flatnonzero(mask).tolist() == [PAD, BOS, 4 + 10, 4 + ord("z")]


def test_a_piece_that_is_not_there_or_ends_outputs_is_one_line():
  assert failure(forbidden_mask, LETTERS, ("<unl>",)).endswith(
    "the target tokenizer has no piece '<unl>', did you mean '<unk>'?"
  )
  assert "did you mean" in failure(forbidden_mask, ByteTokenizer(), ("ß",))
  assert "without '</s>' no output could end" in failure(forbidden_mask, LETTERS, ("</s>",))


def test_prefixes_are_texts_or_tokens():
  assert encode_prefix(LETTERS, "ab", 3) == [4, 5]
  assert encode_prefix(LETTERS, "", 1) == []
  assert encode_prefixes(LETTERS, ["ba", "", [6, UNK], []], 4, 3) == [[5, 4], [], [6, UNK], []]


@pytest.mark.parametrize(
  ("prefixes", "told"),
  [
    (["abc"], "prefix 1 has 3 tokens, no fewer than generate.max_length=3: use 4 or more"),
    (["a", "b"], "one for each of 1 inputs"),
    ("a", "one for each of 1 inputs"),
    ([[4, EOS]], "prefix 1 holds 1: use ids below 8, and none of 0 (<pad>), 1 (</s>), 3 (<s>)"),
    ([[99]], "prefix 1 holds 99: use ids below 8"),
    ([[-1]], "prefix 1 holds -1: use ids below 8"),
  ],
)
def test_prefixes_that_make_no_sense_are_one_line(prefixes, told):
  assert told in failure(encode_prefixes, LETTERS, prefixes, 1, 3)
  assert "generate.prefix has 3 tokens" in failure(encode_prefix, LETTERS, "abc", 3)

import re

import pytest

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.codecs.text.loading import train_tokenizer
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.data.layout import EncoderDecoderLayout, SequenceLayout
from tfx_jax.errors import UserError
from tfx_jax.generation.generator import Generator
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.parallel import Parallel

LAYOUT = EncoderDecoderLayout(8, 8)
SOURCE, TARGET = CharacterTokenizer("ab "), CharacterTokenizer("xyz")


def ask(texts, prefixes=None, layout=LAYOUT, codecs=(SOURCE, TARGET), **settings):
  settings = GenerateSettings(beam_size=1, **settings)
  generator = Generator(None, Parallel(), *codecs, layout, settings)
  return generator._request(texts, prefixes, settings)


def test_texts_become_tokens():
  request = ask(["ab", " ", "abab"], max_source_length=4, prefix="x", forbidden_phrases=("yz",))
  assert request.prompts == [[4, 5, EOS], [], [4, 5, 4, EOS]]
  assert request.prefixes == [[4]] * 3
  assert request.constraints.forbidden.tolist() == [True, False, False, True, False, False, False]
  assert request.constraints.phrases.token.tolist() == [5, 6]
  assert ask(["a"], [[6]]).prefixes == [[6]] and ask(["a"]).constraints.phrases is None


def test_each_input_is_stopped_after_its_own_prefix():
  request = ask(["a", "a"], ["x", ""], stop=("x",))
  assert request.find_stop(0, [4, 5, 4]) == (3, "xy") and request.find_stop(1, [4, 5]) == (1, "")
  assert ask(["a"]).find_stop(0, [4]) is None


def test_what_makes_no_sense_is_one_line():
  for told, changes in (("no piece 'q'", {"forbidden": ("q",)}), ("3 tokens", {"prefix": "xyz"})):
    with pytest.raises(UserError, match=re.escape(told)):
      ask(["a"], max_length=3, **changes)


def test_a_continuation_keeps_the_space_it_begins_with():
  lines = ["ab cd ab cd"] * 50
  pieces = train_tokenizer(lines, "bpe", 13, 1.0, "nmt_nfkc", False, 0)
  (ids,) = pieces.encode(["ab cd ab"])
  assert len(ids) == 3, "a piece a word"
  codecs = pieces, pieces
  request = ask(["ab", ""], None, SequenceLayout(8, continues=True), codecs, stop=(" ",))
  assert request.decode(0, [ids[1:], ids[:2]]) == [" cd ab", " ab cd"]
  assert request.decode(1, [ids]) == ["ab cd ab"]
  together = request.decode_all([1, 0, 1], [[ids, []], [ids[1:]], []])
  assert together == [["ab cd ab", ""], [" cd ab"], []]
  assert request.find_stop(0, ids[1:]) == (1, "") and request.find_stop(1, ids) == (2, "ab")
  answers = ask(["ab"], None, SequenceLayout(8), codecs, stop=(" ",))
  assert answers.decode(0, [ids[1:]]) == ["cd ab"]
  assert answers.decode_all([0, 0], [[ids[1:], []], [ids]]) == [["cd ab", ""], ["ab cd ab"]]

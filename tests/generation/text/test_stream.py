"""Outputs that are looked at while they are written."""

import random
import types

import numpy as np
import pytest

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.codecs.text.loading import train_tokenizer
from tfx_jax.codecs.text.tokenizer import ByteTokenizer
from tfx_jax.errors import UserError
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.generation.text.stop import find_stop
from tfx_jax.generation.text.stream import STOP_EVERY, advance_to_stops, follow

SEARCHES = [{"beam_size": 1}, {"search": "sample", "top_p": 0.9}]


class Written:
  """A search that writes given token lists."""

  capacity = 100

  def __init__(self, *outputs):
    self.outputs, self.length = [[*map(list, row)] for row in outputs], 1

  def samples(self):
    return [[ids[: self.length] for ids in row] for row in self.outputs]

  @property
  def finished(self):
    return all(len(ids) <= self.length for row in self.outputs for ids in row)

  def advance(self, steps):
    self.length += steps

  def cut(self, kept):
    self.outputs = [
      [ids[:count] for ids, count in zip(row, counts, strict=True)]
      for row, counts in zip(self.outputs, kept, strict=True)
    ]


def request(tokenizer, stops=(), starts=((),)):
  return types.SimpleNamespace(
    decode=lambda number, outputs: tokenizer.decode(outputs),
    settings=GenerateSettings(beam_size=1, stop=stops),
    find_stop=lambda number, ids: find_stop(tokenizer.decode, ids, stops, len(starts[number])),
  )


@pytest.fixture(scope="module")
def tokenizers():
  words = "der die das Hund läuft über Straße und schläft im Haus am Fluss".split()
  rng = random.Random(0)
  lines = [" ".join(rng.choices(words, k=8)) for _ in range(200)]
  pieces = train_tokenizer(iter(lines), "unigram", 290, 1.0, "nmt_nfkc", True, 0)
  return {"bytes": ByteTokenizer(), "sentencepiece": pieces}


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
@pytest.mark.parametrize("stops", [(), ("über", "u d", "€")])
def test_what_is_shown_stays_and_is_the_whole_in_the_end(tokenizers, kind, stops):
  """Of texts with characters of several bytes, and of any tokens, some of them no UTF-8."""
  tokenizer, rng = tokenizers[kind], random.Random(0)
  outputs = tokenizer.encode(["der Hund läuft über 3 € 字 die", "", "ü", "  Straße", "x€字"])
  for _ in range(100):
    outputs.append([rng.randrange(4, tokenizer.vocab_size) for _ in range(rng.randint(0, 12))])
  for ids in outputs:
    pieces = list(follow(Written([[*ids, EOS]]), request(tokenizer, stops)))
    stop = find_stop(tokenizer.decode, [*ids, EOS], stops)
    assert "".join(pieces) == (stop.text if stop else tokenizer.decode([ids])[0])
    assert all(pieces)


def test_text_is_shown_as_soon_as_it_is_sure(tokenizers):
  ids = tokenizers["bytes"].encode(["aß\n\nb"])[0]
  assert list(follow(Written([[*ids, EOS]]), request(tokenizers["bytes"]))) == [*"aß\n\nb"]
  assert list(follow(Written([[*ids]]), request(tokenizers["bytes"], ("\n\n\n",)))) == [
    *("a", "ß", "\n\nb")
  ]
  search = Written([[*ids, EOS]])
  assert list(follow(search, request(tokenizers["bytes"], ("\n\n",)))) == ["a", "ß"]
  assert search.length == 5, "it went on after its end"


def test_samples_end_at_their_stops_and_all_are_waited_for(tokenizers):
  tokenizer = tokenizers["bytes"]
  texts = [["a" * 40 + "!b", "xa!b"], ["b" * 30, "!" * 5]]
  outputs = [[[*ids, EOS] for ids in tokenizer.encode(row)] for row in texts]
  search = Written(*outputs, [[], []])
  advance_to_stops(search, request(tokenizer, ("!", "xx"), [[], [1, 1]]), [0, 1])
  assert [tokenizer.decode(row) for row in search.outputs] == [
    ["a" * 40 + "!", "xa!"],
    ["b" * 30, "!!!"],
    ["", ""],
  ]
  assert search.length % STOP_EVERY == 1


@pytest.mark.parametrize("settings", SEARCHES, ids=str)
@pytest.mark.parametrize("stop", [(), ("ee", "ca")])
def test_a_stream_is_the_text_that_is_generated(small, texts, settings, stop):
  few = [text for text in texts if len(text) < 8][:6]
  settings = settings | {"num_return": 1, "stop": stop}
  whole = small.generator(small.params, few, **settings)
  lengths = []
  for number, (text, (best,)) in enumerate(zip(few, whole, strict=True)):
    pieces = list(small.generator.stream(small.params, text, number, **settings))
    assert "".join(pieces) == best.text
    lengths.append(len(pieces))
  assert max(lengths) > 3
  begun = "".join(small.generator.stream(small.params, few[0], prefix="fee", **settings))
  assert begun.startswith("fee")
  assert list(small.generator.stream(small.params, " ", **settings)) == []


@pytest.mark.parametrize(
  ("settings", "told"),
  [
    ({}, "generate.stream=True does not go with generate.beam_size=4: use 1"),
    ({"search": "mbr", "num_return": 1}, "generate.stream=True shows one output"),
    ({"beam_size": 1, "num_return": 1, "prefix": "a" * 20}, "generate.prefix has 20 tokens"),
  ],
)
def test_what_cannot_be_streamed_is_told_before_the_first_piece(small, settings, told):
  with pytest.raises(UserError, match=told):
    small.generator.stream(small.params, "ab", **settings)


def test_what_is_given_neither_stops_nor_counts_as_a_repetition(alone):
  """A decoder-only model reads its prompt as it reads what it has written."""
  rules = {"no_repeat_ngram_size": 1, "stop": ("ab",), "beam_size": 1, "num_return": 1}
  (ruled,) = alone.generator(alone.params, ["abcdef ab"], max_length=8, **rules)[0]
  assert len(ruled.tokens) > 1 and len(set(ruled.tokens)) == len(ruled.tokens)
  assert {*ruled.text} & {*"abcdef "}
  streamed = alone.generator.stream(alone.params, "abcdef ab", max_length=8, **rules)
  assert "".join(streamed) == ruled.text
  with pytest.raises(UserError, match=r"generate.coverage_penalty=0.5 needs .*encoder_decoder"):
    alone.generator(alone.params, ["ab"], coverage_penalty=0.5)


def test_numbers_choose_samples(small):
  settings = {"search": "sample", "num_return": 1, "temperature": 2.0}
  drawn = ["".join(small.generator.stream(small.params, "abc", n, **settings)) for n in range(4)]
  assert len(set(drawn)) > 1 and np.all([*map(len, drawn)])

import itertools

import numpy as np
import pytest

from tfx_jax.codecs.special_tokens import BOS, EOS, PAD, UNK
from tfx_jax.codecs.text.loading import train_tokenizer
from tfx_jax.codecs.text.tokenizer import ByteTokenizer, CharacterTokenizer
from tfx_jax.decoding.phrases import END, START
from tfx_jax.errors import UserError
from tfx_jax.generation.text.constraints import (
  SPACE,
  encode_prefix,
  encode_prefixes,
  forbidden_mask,
  spellings,
)

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


def paths(phrases):
  """All token sequences from the start to the end."""
  arcs = [*zip(*(x.tolist() for x in (phrases.source, phrases.token, phrases.target)), strict=True)]
  found, open_ends = set(), [(START, ())]
  while open_ends:
    node, tokens = open_ends.pop()
    if node == END:
      found.add(tokens)
    open_ends += [(target, (*tokens, token)) for source, token, target in arcs if source == node]
  return found


@pytest.fixture(scope="module")
def pieces():
  lines = ["a b ab ba aab bab abba", "ab ab ba bb aa b a"] * 50
  return train_tokenizer(iter(lines), "bpe", 272, 1.0, "nmt_nfkc", True, 0)


def test_all_spellings_of_a_phrase_are_found(pieces):
  """Against all sequences of a few pieces, with and without the mark of a word's beginning."""
  names = pieces.pieces(range(pieces.vocab_size))
  few = [i for i, name in enumerate(names) if i > 3 and not name.startswith("<")]
  for phrases in (["ab"], ["abba"], ["ab a"], ["a", "ba"]):
    wanted = {SPACE + phrase.replace(" ", SPACE) for phrase in phrases}
    wanted |= {text.removeprefix(SPACE) for text in wanted}
    longest = max(map(len, wanted))
    expected = {
      tokens
      for count in range(1, longest + 1)
      for tokens in itertools.product(few, repeat=min(count, 5))
      if "".join(names[i] for i in tokens) in wanted
    }
    graph = spellings(pieces, phrases)
    found = {path for path in paths(graph) if set(path) <= set(few)}
    assert {path for path in found if len(path) <= 5} == expected
    assert max(map(len, paths(graph))) <= graph.longest
    assert graph.num_nodes == 1 + max(graph.source.max(), graph.target.max(), END)


def test_bytes_spell_what_pieces_do(pieces):
  names = pieces.pieces(range(pieces.vocab_size))
  spelled = {"".join(names[i] for i in path) for path in paths(spellings(pieces, ["ä"]))}
  assert "<0xC3><0xA4>" in spelled and f"{SPACE}<0xC3><0xA4>" in spelled
  assert paths(spellings(ByteTokenizer(), ["a<", " ß"])) == {
    tuple(ids) for ids in ByteTokenizer().encode(["a<", " ß"])
  }


def test_phrases_that_cannot_be_written_need_no_rule():
  assert spellings(LETTERS, ()) is None
  assert spellings(LETTERS, ("xyz", "a!")) is None
  assert paths(spellings(LETTERS, ("xyz", "a b"))) == {(4, 7, 5)}

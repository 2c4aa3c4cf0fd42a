"""Alignments: weights of each pair, and the links made of them."""

import numpy as np
import pytest

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.codecs.text.loading import train_tokenizer
from tfx_jax.codecs.text.tokenizer import ByteTokenizer, CharacterTokenizer
from tfx_jax.data.packing import pack
from tfx_jax.evaluation.align import Aligner, Alignment, pharaoh


def test_weights_are_of_each_pair_whatever_the_order_and_the_batch(small):
  rng, layer = np.random.default_rng(0), 0
  sides = [[[*rng.integers(4, 11, n), EOS] for n in rng.integers(0, 14, 21)] for _ in range(2)]
  aligner = Aligner(small.model, small.parallel, small.layout, 16, layer)
  found = aligner(small.params, *sides)
  for source, target, weights in zip(*sides, found, strict=True):
    assert weights.shape == (len(target), len(source))
    np.testing.assert_allclose(weights.sum(axis=1), np.ones(len(target)), rtol=1e-5)
  some = [3, 20, 7]
  batch = pack([[sides[0][i]] for i in some], [[sides[1][i]] for i in some], 20, 18)
  alone = small.model.bind({"params": small.params}).attention(batch, layer)
  for row, i in zip(alone, some, strict=True):
    np.testing.assert_allclose(found[i], row[: len(sides[1][i]), : len(sides[0][i])], atol=1e-5)
  assert np.ptp(np.concatenate([w.ravel() for w in found if w.shape[1] > 4])) > 0.3
  assert aligner(small.params, [], []) == []
  (nothing,) = aligner(small.params, [[4, EOS]], [[]])
  assert nothing.shape == (0, 2)


def alignment(source, target, best):
  """Weights that are greatest where `best` says."""
  weights = np.full((len(target), len(source)), 0.1, np.float32)
  weights[np.arange(len(target)), best] = 0.5
  return Alignment(source, target, weights)


def test_links_leave_out_the_ends():
  found = alignment(["▁a", "b", "▁c", "</s>"], ["▁x", "▁y", "z", "</s>"], [2, 0, 1, 3])
  assert found.links() == [(2, 0), (0, 1), (1, 2)]
  assert str(found) == pharaoh(found.links()) == "2-0 0-1 1-2"
  # What looks at the end of the source is linked to the next best.
  found.weights[1] = [0.1, 0.2, 0.0, 0.7]
  assert found.links() == [(2, 0), (1, 1), (1, 2)]
  assert alignment(["</s>"], ["▁x", "</s>"], [0, 0]).links() == []
  assert alignment(["▁a", "</s>"], [], []).word_links() == []


def test_words_are_linked_where_any_of_their_pieces_are():
  source = ["▁", "a", "b", "▁c", "<unk>", "▁d", "</s>"]
  target = ["▁x", "y", "▁", "z", "▁w", "</s>"]
  found = alignment(source, target, [1, 2, 0, 4, 5, 6])
  assert found.word_links() == [(0, 0), (0, 1), (1, 1), (2, 2)]
  found = alignment(source, target, [5, 1, 5, 1, 3, 6])
  assert found.word_links() == [(0, 0), (0, 1), (1, 2), (2, 0), (2, 1)]
  # An unknown piece leaves no text in an output, and may be a whole word of an input.
  found = alignment(["▁", "<unk>", "▁b", "</s>"], ["▁", "<unk>", "▁y", "</s>"], [1, 1, 1, 3])
  assert found.word_links() == [(0, 0)]


LINES = ["ein Hund läuft über die Straße", "zwei Hunde laufen ab", "der Hund schläft"] * 10


@pytest.mark.parametrize("kind", ["unigram", "bpe", "bytes", "characters"])
def test_words_are_those_of_the_text(kind):
  """A text aligned with itself, piece by piece, links each word with itself."""
  tokenizer = {
    "bytes": ByteTokenizer,
    "characters": lambda: CharacterTokenizer("".join(sorted(set("".join(LINES))))),
  }.get(kind, lambda: train_tokenizer(LINES, kind, 32, 1.0, "nmt_nfkc", False, 0))()
  every = {"bytes": [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]}
  for text, words in (
    ("ein Hund", [(0, 0), (1, 1)]),
    ("  zwei  Hunde laufen ", [(0, 0), (1, 1), (2, 2)]),
    ("", []),
    # Where they are unknown, of Ωa an a is written, and of Ω nothing but a space.
    ("ein Ωa Hund Ω ab", every.get(kind, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3)])),
  ):
    ids = [*tokenizer.encode([text])[0], EOS]
    pieces = tokenizer.pieces(ids)
    assert alignment(pieces, pieces, np.arange(len(pieces))).word_links() == words
    assert len(tokenizer.decode([ids])[0].split()) == len({t for _, t in words})


@pytest.mark.parametrize("odd", ["\xa0", "\x85", "\u2028"])
def test_only_spaces_and_line_ends_separate_words(odd):
  pieces = [*f"\t\na{odd}b\rc ", "</s>"]
  links = alignment(pieces, pieces, np.arange(len(pieces))).word_links()
  assert links == [(0, 0), (1, 1)]

import collections
import hashlib
import itertools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tfx_jax.codecs.text.loading import train_tokenizer

WORDS = ["haus", "maus", "katze", "tatze", "hund", "mund", "wald", "bald"]
TEXTS = [" ".join(words) for words in itertools.product(WORDS, repeat=3)][:200]
ANY = ["", " ", "haus", "  maus  katze", "unbekännt ß∂ hund", "a\tb\n", "wald <1> bald<1>", "ﬁx"]


def make(kind, byte_fallback=False, normalization="nmt_nfkc"):
  size = 284 if byte_fallback else 28
  return train_tokenizer(
    iter(TEXTS), kind, size, 1.0, normalization, byte_fallback, 0, symbols=(" <1>",)
  )


@pytest.mark.parametrize("normalization", ["nmt_nfkc", "lossless"])
@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize(("kind", "rate"), [("bpe", 0.0), ("unigram", 1e4)])
def test_the_most_probable_segmentation_is_that_of_sentencepiece(
  kind, rate, byte_fallback, normalization
):
  tokenizer = make(kind, byte_fallback, normalization)
  texts = [*TEXTS, *ANY]
  assert tokenizer.sample(texts, rate, 0) == tokenizer.encode(texts)


def test_the_same_seed_gives_the_same_in_every_process():
  code = (
    "import test_segmentation as t, hashlib;"
    "print(*[hashlib.md5(repr(t.make(k).sample(t.TEXTS, 0.3, 5)).encode()).hexdigest()"
    " for k in ('bpe', 'unigram')])"
  )
  here = [
    hashlib.md5(repr(make(kind).sample(TEXTS, 0.3, 5)).encode()).hexdigest()
    for kind in ("bpe", "unigram")
  ]
  path = os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])
  found = subprocess.run(
    [sys.executable, "-c", code],
    env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "7"},
    capture_output=True,
    text=True,
  )
  assert found.stdout.split() == here, found.stderr


def test_unigram_segmentations_have_their_probabilities():
  tokenizer, rate, count = make("unigram"), 0.1, 4000
  processor, text = tokenizer._processor, "haus maus"
  (normalized,) = processor.normalize([text])
  cuts = itertools.product([False, True], repeat=len(normalized) - 1)
  scores = {}
  for cut in cuts:
    bounds = [0, *(i + 1 for i, here in enumerate(cut) if here), len(normalized)]
    pieces = [normalized[a:b] for a, b in itertools.pairwise(bounds)]
    ids = [processor.piece_to_id(piece) for piece in pieces]
    if processor.unk_id() not in ids:
      scores[tuple(ids)] = rate * sum(map(processor.get_score, ids))
  expected = np.exp(list(scores.values()))
  expected /= expected.sum()
  drawn = collections.Counter(map(tuple, tokenizer.sample([text] * count, rate, 1)))
  assert set(drawn) <= set(scores) and len(scores) > 3
  found = np.array([drawn[ids] / count for ids in scores])
  np.testing.assert_allclose(found, expected, atol=4 * (0.25 / count) ** 0.5)


def test_a_bpe_rate_of_one_leaves_characters():
  tokenizer = make("bpe")
  (ids,) = tokenizer.sample(["haus hund"], 1.0, 0)
  assert tokenizer.pieces(ids) == list("▁haus▁hund")
  symbols = tokenizer.pieces(tokenizer.sample(["haus <1> hund"], 1.0, 0)[0])
  assert "▁<1>" in symbols, "a symbol is never split"

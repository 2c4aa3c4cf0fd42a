import itertools

import jax
import numpy as np
import pytest
from support.fake_model import EOS, PAD, PlainRules, batched, log_softmax

from tfx_jax.decoding.rules import apply_rules

ROWS, WIDTH, VOCAB, CAPACITY = 4, 3, 6, 8
APPLY = jax.jit(apply_rules)
RNG = np.random.default_rng(1)
LOGITS = RNG.normal(size=(ROWS, WIDTH, VOCAB)).astype(np.float32) * 3
TOKENS = RNG.integers(2, VOCAB, (ROWS, WIDTH, CAPACITY)).astype(np.int32)

CHOICES = {
  "forbidden": [(PAD,), (PAD, 3, 4), (PAD, 2, 3, 4, 5)],
  "ngram": [0, 1, 2],
  "penalty": [(1.0, 0.0), (2.5, 0.0), (1.5, 0.7)],
  "phrases": [(), ((3,), (4, 5), (5, 2, 2))],
  "prefixes": [[()] * 4, [(), (2,), (3, 3, 3), (4, 5)]],
}


@pytest.mark.parametrize("choice", [*itertools.product(*CHOICES.values())], ids=str)
def test_rules_together_equal_plain_python(choice):
  forbidden, ngram, penalties, phrases, prefixes = choice
  plain = [
    PlainRules(2 + row, 8 - row, forbidden, prefix, ngram, *penalties, phrases)
    for row, prefix in enumerate(prefixes)
  ]
  for length in range(5):
    model, ruled = APPLY(batched(plain, VOCAB, CAPACITY), LOGITS, TOKENS, length)
    np.testing.assert_allclose(model, log_softmax(LOGITS), rtol=1e-5)
    for row, beam in np.ndindex(ROWS, WIDTH):
      expected = plain[row].log_probs(LOGITS[row, beam], TOKENS[row, beam, :length].tolist())
      np.testing.assert_allclose(ruled[row, beam], expected, rtol=1e-5, atol=1e-6)
      assert np.isfinite(expected).any(), "a hypothesis is left without a token"


def test_other_numbers_in_rules_compile_nothing():
  before = None
  for ngram, penalty, forbidden in ((1, 1.5, (PAD,)), (3, 1.1, (PAD, 4, 5))):
    plain = [PlainRules(ngram, 7, forbidden, (2,) * ngram, ngram, penalty)] * ROWS
    APPLY(batched(plain, VOCAB, CAPACITY), LOGITS, TOKENS, 2)
    before = before or APPLY._cache_size()
  assert APPLY._cache_size() == before


def test_padding_of_the_vocabulary_is_never_generated():
  rules = batched([PlainRules()] * ROWS, VOCAB - 2, CAPACITY)
  _, ruled = APPLY(rules, LOGITS, TOKENS, 1)
  assert np.isneginf(np.asarray(ruled)[..., -2:]).all() and np.isfinite(ruled[..., EOS]).all()

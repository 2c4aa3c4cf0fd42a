import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.decoding import logits as on

EOS, ROWS, WIDTH, VOCAB, CAPACITY = 1, 3, 2, 7, 9
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(ROWS, WIDTH, VOCAB)).astype(np.float32) * 2
TOKENS = RNG.integers(2, 4, (ROWS, WIDTH, CAPACITY)).astype(np.int32)


def each():
  return np.ndindex(ROWS, WIDTH)


@pytest.mark.parametrize("length", [0, 1, 5, 9])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_no_ngram_occurs_twice(length, size):
  found = np.asarray(on.block_ngrams(LOGITS, TOKENS, jnp.int32(length), jnp.int32(size)))
  for row, beam in each():
    past = TOKENS[row, beam, :length].tolist()
    for token in range(VOCAB):
      grown = [*past, token]
      grams = [tuple(grown[i : i + size]) for i in range(len(grown) - size + 1)]
      twice = bool(grams) and grams[-1] in grams[:-1]
      assert found[row, beam, token] == (-np.inf if twice else LOGITS[row, beam, token])


@pytest.mark.parametrize("length", [0, 4])
def test_repetition_penalty_lowers_positive_and_negative_logits(length):
  found = np.asarray(on.penalize_repetition(LOGITS, TOKENS, jnp.int32(length), jnp.float32(1.5)))
  signs = set()
  for row, beam in each():
    for token, logit in enumerate(LOGITS[row, beam]):
      again = token in TOKENS[row, beam, :length]
      expected = logit if not again else logit / 1.5 if logit > 0 else logit * 1.5
      np.testing.assert_allclose(found[row, beam, token], expected, rtol=1e-6)
      signs |= {logit > 0} if again else set()
  assert signs == ({True, False} if length else set())


@pytest.mark.parametrize("penalty", [0.7, -1.5])
def test_presence_penalty_is_subtracted_once_per_token_of_the_output(penalty):
  found = np.asarray(on.penalize_presence(LOGITS, TOKENS, jnp.int32(5), jnp.float32(penalty)))
  for row, beam in each():
    past = TOKENS[row, beam, :5].tolist()
    held = np.isin(np.arange(VOCAB), past)
    assert len(set(past)) < len(past) and not held.all()
    np.testing.assert_allclose(found[row, beam], LOGITS[row, beam] - penalty * held, atol=1e-6)


def test_length_limits_always_leave_a_token():
  minimum, maximum = np.array([3, 1, 9]), np.array([5, 2, 9])
  only_end = np.full_like(LOGITS, -np.inf)
  only_end[..., EOS] = -1.0
  for length in range(1, 6):
    found = np.asarray(on.limit_length(LOGITS, length, minimum, maximum, (EOS,), True))
    for row in range(ROWS):
      ends = length >= minimum[row] or length >= maximum[row]
      assert np.isfinite(found[row, :, EOS]).all() == ends
      assert np.isfinite(found[row, :, 2:]).all() == (length < maximum[row])
    others = on.others_left(only_end, (EOS,))
    assert others.shape == (ROWS, WIDTH, 1) and not others.any()
    kept = np.asarray(on.limit_length(only_end, length, minimum, maximum, (EOS,), others))
    np.testing.assert_array_equal(kept, only_end)


def test_a_prefix_overrules_other_rules_and_keeps_its_log_probability():
  prefix = np.array([[4, 5, 0], [6, 0, 0], [0, 0, 0]])
  lengths = np.array([2, 1, 0])
  ruled = np.where(np.arange(VOCAB) >= 5, -np.inf, LOGITS)
  for length in range(4):
    found = np.asarray(on.force_prefix(ruled, LOGITS, jnp.int32(length), prefix, lengths))
    for row in range(ROWS):
      expected = ruled[row]
      if length < lengths[row]:
        expected = np.where(np.arange(VOCAB) == prefix[row, length], LOGITS[row], -np.inf)
      np.testing.assert_array_equal(found[row], expected)

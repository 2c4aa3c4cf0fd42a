"""Parallel decoding against a plain loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.decoding.masked import MaskedSettings, decode

MASK, ROWS, LENGTH, TOKENS = 3, 5, 12, 9
TABLE = np.random.default_rng(0).normal(size=(TOKENS, TOKENS)).astype(np.float32)
PLACES = np.random.default_rng(1).normal(size=(LENGTH, TOKENS)).astype(np.float32)


def predict(tokens):
  """Logits that depend on all tokens of a sequence and on the place."""
  return jnp.cumsum(jnp.asarray(TABLE)[tokens], axis=1)[:, ::-1] + jnp.asarray(PLACES)[None]


def settings(steps=4, temperature=0.0, choice_temperature=0.0, forbidden=(0, 1, MASK), seed=0):
  mask = np.isin(np.arange(TOKENS), forbidden)
  return MaskedSettings(
    jnp.int32(steps), jnp.float32(temperature), jnp.float32(choice_temperature),
    jnp.uint32(seed), jnp.asarray(mask),
  )  # fmt: skip


@pytest.fixture(scope="module")
def given():
  rng = np.random.default_rng(2)
  return rng.integers(4, TOKENS, (ROWS, LENGTH)), rng.random((ROWS, LENGTH)) < 0.8


run = jax.jit(lambda *args: decode(predict, *args, MASK))


def reference(tokens, unknown, steps, forbidden=(0, 1, MASK)):
  tokens, unknown = tokens.copy(), unknown.copy()
  counts = unknown.sum(axis=1)
  kept = np.zeros(tokens.shape)
  for t in range(1, steps + 1):
    logits = np.asarray(predict(np.where(unknown, MASK, tokens)), np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    log_probs[..., list(forbidden)] = -np.inf
    for row in range(len(tokens)):
      places = np.flatnonzero(unknown[row])
      sure = log_probs[row].max(axis=-1)
      remaining = int(np.floor(np.cos(np.pi / 2 * t / steps) * counts[row] + 1e-6))
      for place in sorted(places, key=lambda i: -sure[i])[: max(len(places) - remaining, 0)]:
        tokens[row, place] = log_probs[row, place].argmax()
        kept[row, place] = sure[place]
        unknown[row, place] = False
  return tokens, kept


@pytest.mark.parametrize("steps", [1, 3, 8, 20])
def test_the_most_certain_tokens_are_kept_first_by_the_cosine_schedule(given, steps):
  tokens, unknown = given
  found = run(tokens, unknown, np.arange(ROWS), settings(steps))
  expected, kept = reference(tokens, unknown, steps)
  assert np.array_equal(found.tokens, expected)
  assert np.allclose(found.log_probs, kept, atol=1e-4)


@pytest.mark.parametrize("noise", [{}, {"temperature": 2.0}, {"choice_temperature": 9.0}])
def test_known_tokens_never_change_and_forbidden_ones_are_never_drawn(given, noise):
  tokens, unknown = given
  found = run(tokens, unknown, np.arange(ROWS), settings(**noise))
  assert np.array_equal(found.tokens[~unknown], tokens[~unknown])
  assert not np.isin(found.tokens, (0, 1, MASK)).any()
  assert (np.asarray(found.log_probs)[~unknown] == 0).all()
  assert (np.asarray(found.log_probs)[unknown] < 0).all()


def test_draws_depend_on_the_number_and_the_seed_not_on_the_batch(given):
  tokens, unknown = given
  noise = {"temperature": 2.0, "choice_temperature": 3.0}
  together = np.asarray(run(tokens, unknown, np.arange(ROWS), settings(**noise)).tokens)
  for row in range(ROWS):
    part = slice(row, row + 1)
    alone = run(tokens[part], unknown[part], np.arange(ROWS)[part], settings(**noise)).tokens
    assert np.array_equal(alone[0], together[row])
  other = run(tokens, unknown, np.arange(ROWS), settings(seed=1, **noise)).tokens
  assert not np.array_equal(other, together)


def test_tokens_are_drawn_from_the_distribution_at_the_temperature():
  count, temperature = 4000, 1.5
  tokens, unknown = np.full((count, LENGTH), 5), np.zeros((count, LENGTH), bool)
  unknown[:, 0] = True
  found = run(tokens, unknown, np.arange(count), settings(1, temperature))
  logits = np.array(predict(np.where(unknown, MASK, tokens)[:1])[0, 0], np.float64)
  logits[[0, 1, MASK]] = -np.inf
  expected = np.exp(logits / temperature)
  shares = np.bincount(np.asarray(found.tokens)[:, 0], minlength=TOKENS) / count
  assert np.abs(shares - expected / expected.sum()).max() < 0.03

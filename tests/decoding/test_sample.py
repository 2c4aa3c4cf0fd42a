"""Sampling against a sampler in plain NumPy that draws the same random numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_model import EOS, PAD, FakeModel, PlainRules, batched, cut, log_softmax

from tfx_jax.decoding import sample

VOCAB, LENGTH, SEED = 12, 8, 5
MODEL = FakeModel(VOCAB, seed=2, eos_bonus=1.0)


@functools.lru_cache
def sampler(rows, width):
  @jax.jit
  def run(settings, active):
    state = sample.begin(MODEL.prefill(rows), settings, active, width=width, length=LENGTH)
    return sample.advance(MODEL.step, state, MODEL.history(rows, width), settings, LENGTH)[0]

  return run


def make_settings(rules, temperature=1.0, top_k=None, top_p=None, seed=SEED, number=None):
  rows = len(rules)

  def each(value, dtype):
    return jnp.broadcast_to(jnp.asarray(value, dtype), (rows,))

  return sample.SampleSettings(
    rules=batched(rules, VOCAB, LENGTH),
    seed=jnp.uint32(seed),
    number=jnp.arange(rows) if number is None else jnp.asarray(number),
    temperature=each(temperature, jnp.float32),
    top_k=None if top_k is None else each(top_k, jnp.int32),
    top_p=None if top_p is None else each(top_p, jnp.float32),
  )


def drawn(settings, width, active=None):
  rows = settings.number.shape[0]
  active = jnp.ones(rows, bool) if active is None else jnp.asarray(active)
  state = sampler(rows, width)(settings, active)
  return [[cut(tokens) for tokens in row] for row in state.tokens.tolist()], state


def truncated(logits, top_k, top_p):
  """The distribution that is drawn from, by sorting and adding up."""
  order = np.argsort(-logits, kind="stable")
  probs = np.exp(log_softmax(logits))
  kept = order[: top_k or None]
  total, nucleus = probs[kept].sum(), []
  for token in kept:
    if sum(probs[t] for t in nucleus) >= top_p * total and top_p < 1:
      break
    nucleus.append(token)
  result = np.full(len(logits), -np.inf)
  result[nucleus] = logits[nucleus]
  return result


def plain_sample(row, number, width, rules, temperature, top_k, top_p):
  """One text at a time; the noise of token n is of the key (seed, input, sample, n)."""
  texts = []
  for which in range(width):
    tokens = []
    while EOS not in tokens:
      key = jax.random.key(SEED)
      for data in (number, which, len(tokens)):
        key = jax.random.fold_in(key, data)
      log_probs = rules.log_probs(MODEL.table[MODEL.state_after(row, tokens)], tokens)
      logits = truncated(log_probs / temperature, top_k, top_p)
      tokens.append(int(np.argmax(logits + np.asarray(jax.random.gumbel(key, (VOCAB,))))))
    texts.append(tuple(tokens))
  return texts


RULES = {"ngram": 2, "penalty": 1.4, "forbidden": (PAD, 4), "min_length": 3, "prefix": (6, 6)}
SAMPLERS = {
  "plain": {},
  "temperature": {"temperature": [0.5, 2.0, 1.0, 0.1, 1.5, 0.9, 0.7, 3.0]},
  "top_k": {"top_k": [0, 1, 3, 5, 12, 50, 2, 7]},
  "top_p": {"top_p": [1.0, 0.5, 0.9, 0.01, 0.7, 0.99, 0.3, 0.8]},
  "all": {
    "temperature": [0.5, 2.0, 1.0, 0.1, 1.5, 0.9, 0.7, 3.0],
    "top_k": [0, 1, 3, 5, 12, 50, 2, 7],
    "top_p": [0.9, 0.5, 1.0, 0.6, 0.7, 0.99, 0.8, 0.8],
  },
}


@pytest.mark.parametrize("rules", [{}, RULES], ids=["free", "ruled"])
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("name", SAMPLERS)
def test_equals_plain_numpy(name, rows, rules):
  """Every rule, every row with its own numbers, at several sizes of the batch."""
  given = {key: values[-rows:] for key, values in SAMPLERS[name].items()}
  plain = [PlainRules(max_length=LENGTH - row % 3, **rules) for row in range(rows)]
  texts, state = drawn(make_settings(plain, **given), 4)
  for row in range(rows):
    defaults = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    numbers = defaults | {key: values[row] for key, values in given.items()}
    assert texts[row] == plain_sample(row, row, 4, plain[row], **numbers)
    np.testing.assert_allclose(
      state.log_prob[row], [MODEL.log_prob_of(row, tokens) for tokens in texts[row]], rtol=2e-5
    )


@pytest.mark.parametrize(
  ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.6, 0, 1.0), (1.5, 4, 1.0), (1.3, 0, 0.8)]
)
def test_draws_have_the_distribution_they_are_said_to_have(temperature, top_k, top_p):
  count = 20_000
  settings = make_settings([PlainRules()], temperature, top_k, top_p)
  state = sample.begin(MODEL.prefill(1), settings, jnp.ones(1, bool), width=count, length=LENGTH)
  found = np.bincount(state.tokens[0, :, 0], minlength=VOCAB) / count
  log_probs = PlainRules().log_probs(MODEL.table[0], [])
  expected = np.exp(log_softmax(truncated(log_probs / temperature, top_k, top_p)))
  assert (found[expected == 0] == 0).all()
  assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)).all()


def test_a_sample_depends_on_its_numbers_alone():
  """Not on the batch, nor on how many others there are; but on the seed and on both numbers."""
  texts, _ = drawn(make_settings([PlainRules(max_length=8)] * 8), 4)
  fewer, _ = drawn(make_settings([PlainRules(max_length=8)] * 3), 2)
  assert fewer == [row[:2] for row in texts[:3]]
  other, _ = drawn(make_settings([PlainRules(max_length=8)] * 8, seed=SEED + 1), 4)
  assert all(a != b for a, b in zip(texts, other, strict=True))
  moved, _ = drawn(make_settings([PlainRules(max_length=8)] * 8, number=[0] * 8), 4)
  assert moved[0] == texts[0] and moved[1:] != texts[1:]
  assert len(set(texts[0])) > 1


def test_rows_stop_when_all_samples_have_ended_and_fillers_at_once():
  settings = make_settings([PlainRules(max_length=8)] * 8, top_k=1)
  active = np.arange(8) == 5
  texts, state = drawn(settings, 4, active)
  assert int(state.length) == max(map(len, texts[5])) < LENGTH
  assert (np.asarray(state.tokens)[~active] == 0).all()
  assert (np.asarray(state.log_prob)[~active] == 0).all()
  assert len(set(texts[5])) == 1, "the likeliest token is drawn in more than one way"


def test_sampling_in_pieces_equals_sampling_at_once():
  settings, active = make_settings([PlainRules(max_length=8)] * 3), jnp.ones(3, bool)
  whole, _ = drawn(settings, 4)
  state = sample.begin(MODEL.prefill(3), settings, active, width=4, length=LENGTH)
  cache, advance = MODEL.history(3, 4), jax.jit(functools.partial(sample.advance, MODEL.step))
  lengths = []
  while not bool(state.finished.all()):
    state, cache = advance(state, cache, settings, 3)
    lengths.append(int(state.length))
  assert lengths[0] == 4
  assert [[cut(tokens) for tokens in row] for row in state.tokens.tolist()] == whole

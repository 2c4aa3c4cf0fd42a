"""Sampling against a sampler in plain NumPy that draws the same random numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.fake_model import EOS, PAD, FakeModel, PlainRules, batched, cut, log_softmax

from tfx_jax.decoding import sample
from tfx_jax.decoding.loop import NO_TOKEN
from tfx_jax.decoding.truncation import Truncation

VOCAB, LENGTH, SEED = 12, 8, 5
MODEL = FakeModel(VOCAB, seed=2, eos_bonus=1.0)


@functools.lru_cache
def sampler(rows, width):
  @jax.jit
  def run(settings, active, inputs):
    state = sample.begin(MODEL.prefill(inputs), settings, active, width=width, capacity=LENGTH)
    return sample.advance(MODEL.step, state, MODEL.history(inputs, width), settings, LENGTH)[0]

  return run


def make_settings(rules, seed=SEED, number=None, temperature=1.0, **truncation):
  """Makes settings; each parameter is one number for all rows, or one for each row."""
  rows = len(rules)

  def each(value, dtype):
    return jnp.broadcast_to(jnp.asarray(value, dtype), (rows,))

  dtypes = {"top_k": jnp.int32}
  numbers = {name: each(value, dtypes.get(name, jnp.float32)) for name, value in truncation.items()}
  return sample.SampleSettings(
    batched(rules, VOCAB, LENGTH),
    sample.Sampling(
      seed=jnp.uint32(seed),
      number=jnp.arange(rows) if number is None else jnp.asarray(number),
      truncation=Truncation(each(temperature, jnp.float32), **numbers),
    ),
  )


def drawn(settings, width, active=None, inputs=None):
  rows = settings.rules.max_length.shape[0]
  active = jnp.ones(rows, bool) if active is None else jnp.asarray(active)
  inputs = jnp.arange(rows) if inputs is None else jnp.asarray(inputs)
  state = sampler(rows, width)(settings, active, inputs)
  return [[cut(tokens) for tokens in row] for row in state.tokens.tolist()], state


def truncated(log_probs, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, typical_p=1.0):
  """Truncated logits, by sorting and summing; each method sees what the one before kept."""
  logits = log_probs / temperature

  def keep(order, mass):
    """Keeps the first tokens in this order whose probabilities sum to `mass`."""
    nonlocal logits
    probs = np.exp(log_softmax(logits))
    count = 1 + int(np.searchsorted(np.cumsum(probs[order]), mass)) if mass < 1 else len(order)
    kept = np.full(len(logits), -np.inf)
    kept[order[:count]] = logits[order[:count]]
    logits = kept

  by_probability = np.argsort(-logits, kind="stable")
  keep(by_probability[: top_k or None], 1.0)
  keep(by_probability, top_p)
  keep(by_probability[np.exp(logits - logits.max())[by_probability] >= min_p], 1.0)
  information = -log_softmax(logits)
  possible = np.isfinite(logits)
  entropy = (np.exp(-information[possible]) * information[possible]).sum()
  keep(np.argsort(np.abs(information - entropy), kind="stable"), typical_p)
  return logits


def plain_sample(row, number, width, rules, greedy=False, **truncation):
  """Samples of one row, one at a time; the key of token n is of (seed, input, sample, n)."""
  texts = []
  for which in range(width):
    tokens = []
    while EOS not in tokens:
      key = jax.random.key(SEED)
      for data in (number, which, len(tokens)):
        key = jax.random.fold_in(key, data)
      log_probs = rules.log_probs(MODEL.table[MODEL.state_after(row, tokens)], tokens)
      noise = 0.0 if greedy else np.asarray(jax.random.gumbel(key, (VOCAB,)))
      tokens.append(int(np.argmax(truncated(log_probs, **truncation) + noise)))
    texts.append(tuple(tokens))
  return texts


RULES = {
  "ngram": 2,
  "penalty": 1.4,
  "presence": 0.3,
  "forbidden": (PAD, 4),
  "phrases": ((6, 7), (8, 9, 10), (11,)),
  "min_length": 3,
  "prefix": (6, 6),
}
SAMPLERS = {
  "plain": {},
  "temperature": {"temperature": [0.5, 2.0, 1.0, 0.1, 1.5, 0.9, 0.7, 3.0]},
  "top_k": {"top_k": [0, 1, 3, 5, 12, 50, 2, 7]},
  "top_p": {"top_p": [1.0, 0.5, 0.9, 0.01, 0.7, 0.99, 0.3, 0.8]},
  "min_p": {"min_p": [0.0, 0.5, 0.1, 1.0, 0.3, 0.05, 0.2, 0.7]},
  "typical_p": {"typical_p": [1.0, 0.5, 0.9, 0.01, 0.7, 0.99, 0.3, 0.8]},
  "all": {
    "temperature": [0.5, 2.0, 1.0, 0.8, 1.5, 0.9, 0.7, 3.0],
    "top_k": [0, 1, 9, 5, 12, 50, 8, 7],
    "top_p": [0.9, 0.5, 1.0, 0.6, 0.95, 0.99, 0.8, 0.8],
    "min_p": [0.0, 0.5, 0.1, 1.0, 0.03, 0.05, 0.2, 0.02],
    "typical_p": [1.0, 0.5, 0.9, 0.01, 0.7, 0.95, 0.3, 0.8],
  },
}


@pytest.mark.parametrize("rules", [{}, RULES], ids=["free", "ruled"])
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("name", SAMPLERS)
def test_equals_plain_numpy(name, rows, rules):
  """Each row has its own parameters, in batches of several sizes."""
  given = {key: values[-rows:] for key, values in SAMPLERS[name].items()}
  plain = [PlainRules(max_length=LENGTH - row % 3, **rules) for row in range(rows)]
  texts, state = drawn(make_settings(plain, **given), 4)
  for row in range(rows):
    numbers = {key: values[row] for key, values in given.items()}
    assert texts[row] == plain_sample(row, row, 4, plain[row], **numbers)
    np.testing.assert_allclose(
      state.log_prob[row], [MODEL.log_prob_of(row, tokens) for tokens in texts[row]], rtol=2e-5
    )


@pytest.mark.parametrize("rules", [{}, RULES], ids=["free", "ruled"])
def test_without_sampling_parameters_the_likeliest_token_is_taken(rules):
  plain = [PlainRules(max_length=LENGTH - row % 3, **rules) for row in range(3)]
  texts, _ = drawn(sample.SampleSettings(batched(plain, VOCAB, LENGTH)), 1)
  for row in range(3):
    assert texts[row] == plain_sample(row, row, 1, plain[row], greedy=True)


@pytest.mark.parametrize(
  "truncation",
  [
    {},
    {"temperature": 0.6},
    {"temperature": 1.5, "top_k": 4},
    {"temperature": 1.3, "top_p": 0.8},
    {"temperature": 1.5, "min_p": 0.1},
    {"temperature": 1.3, "typical_p": 0.7},
  ],
  ids=str,
)
def test_draws_follow_the_truncated_distribution(truncation):
  count = 20_000
  settings = make_settings([PlainRules()], **truncation)
  state = sample.begin(MODEL.prefill(1), settings, jnp.ones(1, bool), width=count, capacity=LENGTH)
  found = np.bincount(state.tokens[0, :, 0], minlength=VOCAB) / count
  log_probs = PlainRules().log_probs(MODEL.table[0], [])
  expected = np.exp(log_softmax(truncated(log_probs, **truncation)))
  assert (found[expected == 0] == 0).all()
  assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_depend_on_the_batch(name):
  """Rows may be in any order and in any batch."""
  given = {key: np.array(values) for key, values in SAMPLERS[name].items()}
  plain = [PlainRules(max_length=8)] * 8
  texts, _ = drawn(make_settings(plain, **given), 4)
  for chosen in ([0], [2, 0, 1], [7, 3, 5, 1, 0, 6, 2, 4]):
    own = {key: values[chosen] for key, values in given.items()}
    settings = make_settings(plain[: len(chosen)], number=chosen, **own)
    found, _ = drawn(settings, 4, inputs=chosen)
    assert found == [texts[row] for row in chosen]


def test_a_sample_depends_on_seed_input_number_and_sample_number():
  """The number of other samples does not matter."""
  plain = [PlainRules(max_length=8)] * 8
  texts, _ = drawn(make_settings(plain), 4)
  fewer, _ = drawn(make_settings(plain[:3]), 2)
  assert fewer == [row[:2] for row in texts[:3]]
  other, _ = drawn(make_settings(plain, seed=SEED + 1), 4)
  assert all(a != b for a, b in zip(texts, other, strict=True))
  moved, _ = drawn(make_settings(plain, number=[0] * 8), 4)
  assert moved[0] == texts[0] and moved[1:] != texts[1:]
  assert len(set(texts[0])) > 1


def test_rows_finish_with_their_last_sample_and_inactive_rows_at_once():
  settings = make_settings([PlainRules(max_length=8)] * 8, top_k=1)
  active = np.arange(8) == 5
  texts, state = drawn(settings, 4, active)
  assert int(state.length) == max(map(len, texts[5])) < LENGTH
  assert (np.asarray(state.tokens)[~active] == NO_TOKEN).all()
  assert (np.asarray(state.log_prob)[~active] == 0).all()
  assert len(set(texts[5])) == 1, "the likeliest token is drawn in more than one way"


ADVANCE = jax.jit(functools.partial(sample.advance, MODEL.step))


def test_sampling_in_chunks_equals_sampling_at_once():
  settings, active = make_settings([PlainRules(max_length=8)] * 3), jnp.ones(3, bool)
  whole, _ = drawn(settings, 4)
  state = sample.begin(MODEL.prefill(3), settings, active, width=4, capacity=LENGTH)
  cache, advance = MODEL.history(3, 4), ADVANCE
  lengths = []
  while not bool(state.finished.all()):
    state, cache = advance(state, cache, settings, 3)
    lengths.append(int(state.length))
  assert lengths[0] == 4
  assert [[cut(tokens) for tokens in row] for row in state.tokens.tolist()] == whole


def test_cut_ends_a_sample_and_leaves_the_others():
  settings, active = make_settings([PlainRules(4, 8)] * 3), jnp.ones(3, bool)
  whole, _ = drawn(settings, 4)
  state = sample.begin(MODEL.prefill(3), settings, active, width=4, capacity=LENGTH)
  state, cache = ADVANCE(state, MODEL.history(3, 4), settings, 2)
  kept = np.full((3, 4), LENGTH)
  kept[1, 2], kept[2, 0] = 1, 3
  state, _ = ADVANCE(sample.cut(state, jnp.asarray(kept)), cache, settings, LENGTH)
  for row, which in np.ndindex(3, 4):
    tokens, length = whole[row][which], min(kept[row, which], len(whole[row][which]))
    assert state.tokens[row, which].tolist() == [*tokens[:length], *[NO_TOKEN] * (LENGTH - length)]
    assert state.log_prob[row, which] == pytest.approx(
      MODEL.log_prob_of(row, tokens[:length]), rel=2e-5
    )
  assert state.ended.all()

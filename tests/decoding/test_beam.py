"""Beam search against brute force and against a beam search in plain Python."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.decoding import beam
from tfx_jax.decoding.coverage import coverage_penalty

EOS, PAD = 1, 0
STATES = 997


class FakeModel:
  """A model whose next-token logits depend on the whole history, through a hash of it."""

  def __init__(self, vocab: int, seed: int, eos_bonus: float = 0.0):
    rng = np.random.default_rng(seed)
    self.table = rng.normal(size=(STATES, vocab)).astype(np.float32) * 2
    self.table[:, EOS] += eos_bonus
    shifted = self.table.astype(np.float64)
    self.log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

  @staticmethod
  def advance(history, token):
    return (history * 31 + token + 7) % STATES

  def prefill(self, rows: int):
    history = jnp.arange(rows, dtype=jnp.int32) * 13 % STATES
    return jnp.asarray(self.table)[history]

  def step(self, tokens, parents, history):
    history = jnp.take_along_axis(history, parents, axis=1)
    history = self.advance(history, tokens)
    return jnp.asarray(self.table)[history], history

  def history(self, rows: int, width: int):
    return jnp.broadcast_to(
      (jnp.arange(rows, dtype=jnp.int32) * 13 % STATES)[:, None], (rows, width)
    )


def make_settings(rows, alpha, offset=5.0, min_length=1, max_length=5, forbidden=(PAD,)):
  return beam.BeamSettings(
    length_penalty=jnp.float32(alpha),
    penalty_offset=jnp.float32(offset),
    min_length=jnp.broadcast_to(jnp.asarray(min_length, jnp.int32), (rows,)),
    max_length=jnp.broadcast_to(jnp.asarray(max_length, jnp.int32), (rows,)),
    eos=EOS,
    forbidden=forbidden,
  )


@functools.lru_cache
def searcher(model, width, num_return, length):
  @jax.jit
  def search(settings, active):
    rows = active.shape[0]
    state = beam.begin(
      model.prefill(rows), settings, active, width=width, num_return=num_return, length=length
    )
    return beam.advance(model.step, state, model.history(rows, width), settings, length)[0]

  return search


def run(model, rows, width, num_return, settings, length=5, active=None):
  active = jnp.ones(rows, bool) if active is None else jnp.asarray(active)
  state = searcher(model, width, num_return, length)(settings, active)
  out = []
  done = (state.done_tokens, state.done_score, state.done_log_prob)
  for tokens, scores, log_probs in zip(*map(np.asarray, done), strict=True):
    out.append(
      [
        (cut(t), float(s), float(p))
        for t, s, p in zip(tokens.tolist(), scores, log_probs, strict=True)
        if np.isfinite(s)
      ]
    )
  return out, state


def cut(tokens):
  return tuple(tokens[: tokens.index(EOS) + 1]) if EOS in tokens else tuple(tokens)


def penalty(n, alpha, offset):
  return ((offset + n) / (offset + 1)) ** alpha


def log_prob_of(model, row, tokens):
  history, total = row * 13 % STATES, 0.0
  for token in tokens:
    total += model.log_probs[history, token]
    history = model.advance(history, token)
  return total


def nothing(row, tokens):
  return 0.0


def brute_force(model, row, vocab, alpha, offset, min_length, max_length, count, at_end=nothing):
  words = [t for t in range(vocab) if t not in (EOS, PAD)]
  scored = []
  for n in range(min_length, max_length + 1):
    for body in itertools.product(words, repeat=n - 1):
      tokens = (*body, EOS)
      log_prob = log_prob_of(model, row, tokens)
      score = log_prob / penalty(n, alpha, offset) + at_end(row, tokens)
      scored.append((score, tokens, log_prob))
  return sorted(scored, reverse=True)[:count]


def plain_beam(
  model, row, vocab, width, count, alpha, offset, min_length, max_length, at_end=nothing
):
  """The definition in the module's docstring, without early stop, one sentence at a time."""
  live, done = [(0.0, ())], []
  for n in range(1, max_length + 1):
    candidates = []
    for log_prob, tokens in live:
      history = row * 13 % STATES
      for token in tokens:
        history = model.advance(history, token)
      for token in range(vocab):
        ends = token == EOS
        banned = (n == max_length and not ends) or (n < min_length and n < max_length and ends)
        if token != PAD and not banned:
          candidates.append((log_prob + model.log_probs[history, token], (*tokens, token)))
    candidates = sorted(candidates, reverse=True)[: 2 * width]
    ended = [c for c in candidates[:width] if c[1][-1] == EOS]
    done += [(p / penalty(n, alpha, offset) + at_end(row, t), t, p) for p, t in ended]
    live = [c for c in candidates if c[1][-1] != EOS][:width]
  return sorted(done, reverse=True)[:count]


def check(found, expected):
  assert [f[0] for f in found] == [e[1] for e in expected]
  np.testing.assert_allclose([f[1] for f in found], [e[0] for e in expected], rtol=2e-5)
  np.testing.assert_allclose([f[2] for f in found], [e[2] for e in expected], rtol=2e-5)


VOCAB, ROWS = 5, 6
MODEL = FakeModel(VOCAB, seed=0)


@pytest.mark.parametrize(("alpha", "offset"), [(0.0, 5.0), (0.6, 5.0), (1.0, 0.0), (-0.5, 0.0)])
def test_wide_beam_equals_brute_force(alpha, offset):
  """With room for every continuation (27 * 4 = 108) the n-best list is the true one."""
  settings = make_settings(ROWS, alpha, offset)
  found, _ = run(MODEL, ROWS, 108, 10, settings)
  for row in range(ROWS):
    check(found[row], brute_force(MODEL, row, VOCAB, alpha, offset, 1, 5, 10))


@pytest.mark.parametrize("min_length", [2, 4, 5])
def test_lengths_are_bounded_as_by_brute_force(min_length):
  settings = make_settings(ROWS, 0.6, min_length=min_length, max_length=5)
  found, _ = run(MODEL, ROWS, 108, 10, settings)
  for row in range(ROWS):
    check(found[row], brute_force(MODEL, row, VOCAB, 0.6, 5.0, min_length, 5, 10))


def test_each_row_has_its_own_maximum_length():
  limits = np.array([1, 2, 3, 4, 5, 5])
  found, _ = run(MODEL, ROWS, 108, 4, make_settings(ROWS, 0.6, max_length=limits))
  for row in range(ROWS):
    check(found[row], brute_force(MODEL, row, VOCAB, 0.6, 5.0, 1, limits[row], 4))


BIG = FakeModel(40, seed=1, eos_bonus=1.5)


@pytest.mark.parametrize(
  ("width", "count", "alpha", "offset"),
  [(1, 1, 0.6, 5.0), (4, 4, 0.6, 5.0), (4, 1, 1.0, 0.0), (3, 2, 0.0, 5.0), (4, 1, -1.0, 5.0)],
)
def test_equals_plain_python(width, count, alpha, offset):
  """Early stop and all: narrow beams find what the search without early stop finds."""
  settings = make_settings(8, alpha, offset, min_length=2, max_length=16)
  found, _ = run(BIG, 8, width, count, settings, length=16)
  for row in range(8):
    check(found[row], plain_beam(BIG, row, 40, width, count, alpha, offset, 2, 16))


def test_stops_early_and_rows_do_not_disturb_each_other():
  settings = make_settings(8, 0.0, max_length=64)
  together, state = run(BIG, 8, 4, 2, settings, length=64)
  assert int(state.length) < 64, "the bound never stopped the search"
  active = np.zeros(8, bool)
  active[5] = True
  alone, state = run(BIG, 8, 4, 2, settings, length=64, active=active)
  assert alone[5] == together[5]
  assert all(not alone[row] for row in range(8) if row != 5), "a row that is not active found text"


def test_beam_of_one_is_greedy():
  settings = make_settings(8, 0.0, max_length=16)
  found, _ = run(BIG, 8, 1, 1, settings, length=16)
  for row in range(8):
    history, tokens = row * 13 % STATES, []
    while not tokens or tokens[-1] != EOS:
      order = np.argsort(-BIG.log_probs[history])
      token = EOS if len(tokens) == 15 else next(int(t) for t in order if t != PAD)
      tokens.append(token)
      history = BIG.advance(history, token)
    assert found[row][0][0] == tuple(tokens)


def test_empty_places_are_marked_not_filled():
  """A row that can have only one hypothesis returns one, not three made of zeros."""
  found, state = run(MODEL, ROWS, 4, 4, make_settings(ROWS, 0.6, max_length=1))
  assert [[h[0] for h in row] for row in found] == [[(EOS,)]] * ROWS
  assert np.isneginf(np.asarray(state.done_score)[:, 1:]).all()


def test_hypotheses_are_sorted_distinct_and_rescored():
  found, _ = run(BIG, 8, 4, 4, make_settings(8, 0.6, max_length=16), length=16)
  for row, hypotheses in enumerate(found):
    scores = [h[1] for h in hypotheses]
    assert scores == sorted(scores, reverse=True)
    assert len({h[0] for h in hypotheses}) == 4
    for tokens, score, log_prob in hypotheses:
      assert math.isclose(log_prob, log_prob_of(BIG, row, tokens), rel_tol=1e-5)
      assert math.isclose(score, log_prob / penalty(len(tokens), 0.6, 5.0), rel_tol=1e-5)


class Reading:
  """A made-up attention to three positions of a source, of two in odd rows, summed per beam."""

  def __init__(self, model, beta):
    rng = np.random.default_rng(3)
    self.model, self.beta = model, beta
    self.weights = rng.dirichlet([0.3] * 3, STATES).astype(np.float32)

  def real(self, rows):
    return np.arange(3)[None] < np.where(np.arange(rows) % 2, 2, 3)[:, None]

  def cache(self, rows, width):
    history = self.model.history(rows, width)
    return history, jnp.asarray(self.weights)[history]

  def step(self, tokens, parents, cache):
    history, coverage = cache
    logits, history = self.model.step(tokens, parents, history)
    coverage = jnp.take_along_axis(coverage, parents[..., None], axis=1)
    return logits, (history, coverage + jnp.asarray(self.weights)[history])

  def ending(self, cache):
    return self.beta * coverage_penalty(cache[1], jnp.asarray(self.real(cache[1].shape[0])))

  def at_end(self, row, tokens):
    """The formula, for one hypothesis."""
    history, total = row * 13 % STATES, np.zeros(3)
    for token in tokens:
      total = total + self.weights[history]
      history = self.model.advance(history, token)
    seen = [min(x, 1.0) for x in total[: 2 if row % 2 else 3]]
    return self.beta * sum(math.log(x) for x in seen)

  @functools.cached_property
  def search(self):
    @functools.partial(jax.jit, static_argnames=("rows", "width", "count", "length"))
    def search(settings, *, rows, width, count, length):
      cache = self.cache(rows, width)
      state = beam.begin(
        self.model.prefill(rows),
        settings,
        jnp.ones(rows, bool),
        width=width,
        num_return=count,
        length=length,
        at_end=self.ending(cache),
      )
      return beam.advance(self.step, state, cache, settings, length, self.ending)[0]

    return search


def found_by(reading, settings, **shape):
  state = reading.search(settings, **shape)
  done = (state.done_tokens, state.done_score, state.done_log_prob)
  return [
    [(cut(t), s, p) for t, s, p in zip(*row, strict=True) if np.isfinite(s)]
    for row in zip(*(x.tolist() for x in done), strict=True)
  ], int(state.length)


@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 0.4), (-0.5, 2.0)])
def test_coverage_penalty_equals_brute_force(alpha, beta):
  reading = Reading(MODEL, beta)
  settings = make_settings(ROWS, alpha, 0.0)
  found, _ = found_by(reading, settings, rows=ROWS, width=108, count=10, length=5)
  plain, _ = run(MODEL, ROWS, 108, 10, settings)
  assert [[h[0] for h in row] for row in found] != [[h[0] for h in row] for row in plain]
  for row in range(ROWS):
    check(found[row], brute_force(MODEL, row, VOCAB, alpha, 0.0, 1, 5, 10, reading.at_end))


@pytest.mark.parametrize(
  ("width", "count", "alpha", "beta"), [(4, 4, 0.6, 0.5), (3, 2, 0.0, 0.1), (4, 1, 0.6, 5.0)]
)
def test_coverage_penalty_leaves_the_stop_exact(width, count, alpha, beta):
  reading, settings = Reading(BIG, beta), make_settings(8, alpha, max_length=24)
  found, length = found_by(reading, settings, rows=8, width=width, count=count, length=24)
  if not alpha:
    assert length < 24, "the bound never stopped the search"
  for row in range(8):
    check(found[row], plain_beam(BIG, row, 40, width, count, alpha, 5.0, 1, 24, reading.at_end))


def test_search_in_pieces_equals_search_at_once():
  settings, active = make_settings(8, 0.6, max_length=16), jnp.ones(8, bool)
  whole, _ = run(BIG, 8, 4, 2, settings, length=16)
  state = beam.begin(BIG.prefill(8), settings, active, width=4, num_return=2, length=16)
  cache, lengths = BIG.history(8, 4), []
  advance = jax.jit(functools.partial(beam.advance, BIG.step))
  while not bool(state.finished.all()):
    state, cache = advance(state, cache, settings, 3)
    lengths.append(int(state.length))
  assert lengths[0] == 4
  assert [[cut(t) for t in row] for row in state.done_tokens.tolist()] == [
    [h[0] for h in row] for row in whole
  ]

"""Beam search against brute force and against a beam search in plain Python."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.fake_model import EOS, PAD, FakeModel, PlainRules, batched, cut
from support.plain_search import (
  MODEL,
  Reading,
  brute_force,
  check,
  legal,
  penalty,
  plain_beam,
  read,
)

from tfx_jax.decoding import beam

ROWS = 6


def make_settings(model, rows, alpha, offset=5.0, rules=None, **same):
  """Makes settings with rules for each row, or the same rules for all rows."""
  return beam.BeamSettings(
    rules=batched(rules or [PlainRules(**same)] * rows, model.vocab, 16),
    length_penalty=jnp.float32(alpha),
    penalty_offset=jnp.float32(offset),
  )


@functools.lru_cache
def searcher(model, width, num_return, length):
  @jax.jit
  def search(settings, active):
    rows = active.shape[0]
    state = beam.begin(
      model.prefill(rows), settings, active, width=width, num_return=num_return, capacity=length
    )
    return beam.advance(model.step, state, model.history(rows, width), settings, length)[0]

  return search


def run(model, rows, width, num_return, settings, length=5, active=None):
  active = jnp.ones(rows, bool) if active is None else jnp.asarray(active)
  state = searcher(model, width, num_return, length)(settings, active)
  return read(state), state


@pytest.mark.parametrize(("alpha", "offset"), [(0.0, 5.0), (0.6, 5.0), (1.0, 0.0), (-0.5, 0.0)])
def test_wide_beam_equals_brute_force(alpha, offset):
  """A beam that holds every continuation (27 * 4 = 108) finds the true n-best list."""
  settings = make_settings(MODEL, ROWS, alpha, offset)
  found, _ = run(MODEL, ROWS, 108, 10, settings)
  for row in range(ROWS):
    check(found[row], brute_force(MODEL, row, alpha, offset, 10, PlainRules()))


@pytest.mark.parametrize("min_length", [2, 4, 5])
def test_lengths_are_bounded_as_by_brute_force(min_length):
  settings = make_settings(MODEL, ROWS, 0.6, min_length=min_length, max_length=5)
  found, _ = run(MODEL, ROWS, 108, 10, settings)
  for row in range(ROWS):
    check(found[row], brute_force(MODEL, row, 0.6, 5.0, 10, PlainRules(min_length)))


def test_each_row_has_its_own_maximum_length():
  rules = [PlainRules(max_length=limit) for limit in (1, 2, 3, 4, 5, 5)]
  found, _ = run(MODEL, ROWS, 108, 4, make_settings(MODEL, ROWS, 0.6, rules=rules))
  for row in range(ROWS):
    check(found[row], brute_force(MODEL, row, 0.6, 5.0, 4, rules[row]))


RULES = {
  "forbidden": {"forbidden": (PAD, 3)},
  "unigrams": {"ngram": 1},
  "bigrams": {"ngram": 2},
  "penalty": {"penalty": 1.7},
  "all": {"forbidden": (PAD, 2), "ngram": 2, "penalty": 1.3, "min_length": 3},
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("prefixes", [[()] * 6, [(), (2,), (4, 3), (3, 4, 2), (3, 3), ()]])
def test_wide_beam_equals_brute_force_under_rules(rules, prefixes):
  """The reported log-probability is the model's own; a prefix may break other rules."""
  each = [PlainRules(prefix=prefix, **rules) for prefix in prefixes]
  found, _ = run(MODEL, ROWS, 108, 10, make_settings(MODEL, ROWS, 0.6, rules=each))
  for row, own in enumerate(each):
    if own.prefix and not legal(own.prefix, dataclasses.replace(own, min_length=0)):
      assert found[row] and all(h[0][: len(own.prefix)] == own.prefix for h in found[row])
      check(found[row], plain_beam(MODEL, row, 108, 10, 0.6, 5.0, own))
    else:
      check(found[row], brute_force(MODEL, row, 0.6, 5.0, 10, own))


def test_a_beam_without_allowed_tokens_ends():
  """Three tokens, each at most once, cannot make six: the output ends before `min_length`."""
  settings = make_settings(MODEL, ROWS, 0.6, ngram=1, min_length=6, max_length=9)
  found, _ = run(MODEL, ROWS, 4, 2, settings, length=9)
  for row in found:
    assert [len(h[0]) for h in row] == [4, 4] and {*row[0][0]} == {EOS, 2, 3, 4}


BIG = FakeModel(40, seed=1, eos_bonus=1.5)


@pytest.mark.parametrize(
  ("width", "count", "alpha", "offset"),
  [(1, 1, 0.6, 5.0), (4, 4, 0.6, 5.0), (4, 1, 1.0, 0.0), (3, 2, 0.0, 5.0), (4, 1, -1.0, 5.0)],
)
def test_equals_plain_python(width, count, alpha, offset):
  """Narrow beams with the stop find the same as the search without it."""
  settings = make_settings(BIG, 8, alpha, offset, min_length=2, max_length=16)
  found, _ = run(BIG, 8, width, count, settings, length=16)
  for row in range(8):
    check(found[row], plain_beam(BIG, row, width, count, alpha, offset, PlainRules(2, 16)))


@pytest.mark.parametrize("width", [1, 4])
def test_equals_plain_python_under_rules(width):
  rules = [
    PlainRules(2, 16, (PAD, 7, 9), prefix, ngram=2, penalty=1.2)
    for prefix in [(), (5,), (7, 5, 5), (6, 5, 6, 5), (), (30,) * 4, (2,), ()]
  ]
  settings = make_settings(BIG, 8, 0.0 if width == 1 else 0.6, rules=rules)
  found, _ = run(BIG, 8, width, width, settings, length=16)
  for row in range(8):
    expected = plain_beam(BIG, row, width, width, 0.0 if width == 1 else 0.6, 5.0, rules[row])
    check(found[row], expected)


def test_search_stops_early_and_rows_are_independent():
  settings = make_settings(BIG, 8, 0.0, max_length=64)
  together, state = run(BIG, 8, 4, 2, settings, length=64)
  assert int(state.length) < 64, "the bound never stopped the search"
  active = np.zeros(8, bool)
  active[5] = True
  alone, state = run(BIG, 8, 4, 2, settings, length=64, active=active)
  assert alone[5] == together[5]
  assert all(not alone[row] for row in range(8) if row != 5), "a row that is not active found text"


@pytest.mark.parametrize("rules", [{}, {"ngram": 2, "penalty": 1.5, "prefix": (5, 6)}])
def test_beam_of_one_is_greedy(rules):
  rules = PlainRules(max_length=16, **rules)
  found, _ = run(BIG, 8, 1, 1, make_settings(BIG, 8, 0.0, rules=[rules] * 8), length=16)
  for row in range(8):
    tokens = []
    while not tokens or tokens[-1] != EOS:
      log_probs = rules.log_probs(BIG.table[BIG.state_after(row, tokens)], tokens)
      tokens.append(int(log_probs.argmax()))
    assert found[row][0][0] == tuple(tokens)


def test_empty_places_of_the_pool_have_no_score():
  """A row with only one possible hypothesis returns one, and no zeros for the other three."""
  found, state = run(MODEL, ROWS, 4, 4, make_settings(MODEL, ROWS, 0.6, max_length=1))
  assert [[h[0] for h in row] for row in found] == [[(EOS,)]] * ROWS
  assert np.isneginf(np.asarray(state.done_score)[:, 1:]).all()


def test_hypotheses_are_sorted_distinct_and_rescored():
  found, _ = run(BIG, 8, 4, 4, make_settings(BIG, 8, 0.6, max_length=16), length=16)
  for row, hypotheses in enumerate(found):
    scores = [h[1] for h in hypotheses]
    assert scores == sorted(scores, reverse=True)
    assert len({h[0] for h in hypotheses}) == 4
    for tokens, score, log_prob in hypotheses:
      assert math.isclose(log_prob, BIG.log_prob_of(row, tokens), rel_tol=1e-5)
      assert math.isclose(score, log_prob / penalty(len(tokens), 0.6, 5.0), rel_tol=1e-5)


def found_by(reading, settings, **shape):
  state = reading.search(settings, **shape)
  return read(state), int(state.length)


@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 0.4), (-0.5, 2.0)])
def test_coverage_penalty_equals_brute_force(alpha, beta):
  reading = Reading(MODEL, beta)
  settings = make_settings(MODEL, ROWS, alpha, 0.0)
  found, _ = found_by(reading, settings, rows=ROWS, width=108, count=10, length=5)
  plain, _ = run(MODEL, ROWS, 108, 10, settings)
  assert [[h[0] for h in row] for row in found] != [[h[0] for h in row] for row in plain]
  for row in range(ROWS):
    check(found[row], brute_force(MODEL, row, alpha, 0.0, 10, PlainRules(), reading.at_end))


@pytest.mark.parametrize(
  ("width", "count", "alpha", "beta"), [(4, 4, 0.6, 0.5), (3, 2, 0.0, 0.1), (4, 1, 0.6, 5.0)]
)
def test_coverage_penalty_leaves_the_stop_exact(width, count, alpha, beta):
  reading, settings = Reading(BIG, beta), make_settings(BIG, 8, alpha, max_length=24)
  found, length = found_by(reading, settings, rows=8, width=width, count=count, length=24)
  if not alpha:
    assert length < 24, "the bound never stopped the search"
  rules = PlainRules(max_length=24)
  for row in range(8):
    check(found[row], plain_beam(BIG, row, width, count, alpha, 5.0, rules, reading.at_end))


def test_search_in_chunks_equals_search_at_once():
  settings, active = make_settings(BIG, 8, 0.6, max_length=16), jnp.ones(8, bool)
  whole, _ = run(BIG, 8, 4, 2, settings, length=16)
  state = beam.begin(BIG.prefill(8), settings, active, width=4, num_return=2, capacity=16)
  cache, lengths = BIG.history(8, 4), []
  advance = jax.jit(functools.partial(beam.advance, BIG.step))
  while not bool(state.finished.all()):
    state, cache = advance(state, cache, settings, 3)
    lengths.append(int(state.length))
  assert lengths[0] == 4
  assert [[cut(t) for t in row] for row in state.done_tokens.tolist()] == [
    [h[0] for h in row] for row in whole
  ]

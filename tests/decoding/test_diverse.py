"""Diverse beam search against its definition in plain Python, and against exhaustive search."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.fake_model import EOS, PAD, FakeModel, PlainRules, batched
from support.plain_search import MODEL, Reading, brute_force, nothing, penalty, read

from tfx_jax.decoding import beam, diverse
from tfx_jax.decoding.loop import NO_TOKEN

ROWS, LENGTH = 6, 10
BIG = FakeModel(20, seed=1, eos_bonus=1.5)


def make_settings(model, groups, strength, alpha, rules, rows=ROWS):
  return diverse.DiverseSettings(
    beam.BeamSettings(batched([rules] * rows, model.vocab, 16), jnp.float32(alpha), jnp.float32(5)),
    jnp.float32(strength),
    groups,
  )


@functools.lru_cache
def searcher(model, width, num_return, length):
  @jax.jit
  def search(settings, active):
    rows = active.shape[0]
    state = diverse.begin(
      model.prefill(rows), settings, active, width=width, num_return=num_return, capacity=length
    )
    return diverse.advance(model.step, state, model.history(rows, width), settings, length)[0]

  return search


def plain_diverse(model, row, width, count, groups, strength, alpha, rules, at_end=nothing):
  """Pool of each group after a search to the maximum length, for one row."""
  own = width // groups
  live, done = [[(0.0, ())] for _ in range(groups)], [[] for _ in range(groups)]
  for n in range(1, rules.max_length + 1):
    chosen = []
    for group in range(groups):
      candidates = []
      for total, tokens in live[group]:
        log_probs = rules.log_probs(model.table[model.state_after(row, tokens)], tokens)
        candidates += [
          (total + p - strength * chosen.count(t), total + p, (*tokens, t))
          for t, p in enumerate(log_probs)
          if p > -np.inf
        ]
      candidates = sorted(candidates, reverse=True)[: 2 * own]
      done[group] += [
        (p / penalty(n, alpha, 5.0) + at_end(row, t), t, model.log_prob_of(row, t))
        for _, p, t in candidates[:own]
        if t[-1] == EOS
      ]
      live[group] = [(p, t) for _, p, t in candidates if t[-1] != EOS][:own]
      chosen += [t[-1] for _, t in live[group]]
  return [sorted(pool, reverse=True)[: -(-count // groups)] for pool in done]


def check(found, pools):
  expected = [hypothesis for pool in pools for hypothesis in pool]
  assert [f[0] for f in found] == [e[1] for e in expected]
  np.testing.assert_allclose([f[1] for f in found], [e[0] for e in expected], rtol=2e-5)
  np.testing.assert_allclose([f[2] for f in found], [e[2] for e in expected], rtol=2e-5)


RULES = {"forbidden": (PAD, 7, 9), "prefix": (5,), "ngram": 2, "penalty": 1.2, "min_length": 3}


@pytest.mark.parametrize("rules", [{}, RULES], ids=["free", "ruled"])
@pytest.mark.parametrize(
  ("width", "groups", "count", "strength", "alpha"),
  [(4, 2, 4, 0.5, 0.6), (6, 3, 3, 2.0, 0.0), (4, 4, 4, 1.0, -0.5), (6, 2, 1, 0.8, 0.6)],
)
def test_equals_plain_python(width, groups, count, strength, alpha, rules):
  """The search with the stop equals the search to the maximum length, for any exponent."""
  plain = PlainRules(max_length=LENGTH, **rules)
  settings = make_settings(BIG, groups, strength, alpha, plain)
  state = searcher(BIG, width, count, LENGTH)(settings, jnp.ones(ROWS, bool))
  for row, found in enumerate(read(state)):
    check(found, plain_diverse(BIG, row, width, count, groups, strength, alpha, plain))


def test_wide_groups_equal_brute_force():
  """Groups that hold every continuation (27 * 4 = 108) lose none to the diversity penalty."""
  settings = make_settings(MODEL, 2, 3.0, 0.6, PlainRules())
  state = searcher(MODEL, 216, 20, 5)(settings, jnp.ones(ROWS, bool))
  for row, found in enumerate(read(state)):
    check(found, [brute_force(MODEL, row, 0.6, 5.0, 10, PlainRules())] * 2)


def test_first_group_is_plain_beam_search_and_a_strong_penalty_separates_the_others():
  plain = PlainRules(max_length=LENGTH)
  settings, active = make_settings(BIG, 3, 1e3, 0.6, plain), jnp.ones(ROWS, bool)
  state = searcher(BIG, 3, 3, LENGTH)(settings, active)
  own = beam.begin(BIG.prefill(ROWS), settings.beam, active, width=1, num_return=1, capacity=LENGTH)
  own, _ = beam.advance(BIG.step, own, BIG.history(ROWS, 1), settings.beam, LENGTH)
  np.testing.assert_array_equal(state.groups[0].done_tokens, own.done_tokens)
  found = np.concatenate([group.done_tokens for group in state.groups], axis=1)
  for row in found.tolist():
    for place in range(LENGTH):
      words = [tokens[place] for tokens in row if tokens[place] not in (NO_TOKEN, EOS)]
      assert len(set(words)) == len(words)


def test_each_beam_gets_its_own_coverage_penalty():
  reading, plain = Reading(BIG, 0.5), PlainRules(max_length=LENGTH)
  settings = make_settings(BIG, 2, 0.7, 0.6, plain)

  @jax.jit
  def search(settings):
    cache = reading.cache(ROWS, 4)
    state = diverse.begin(
      BIG.prefill(ROWS),
      settings,
      jnp.ones(ROWS, bool),
      width=4,
      num_return=4,
      capacity=LENGTH,
      end_penalty=reading.ending(cache),
    )
    return diverse.advance(reading.step, state, cache, settings, LENGTH, reading.ending)[0]

  for row, found in enumerate(read(search(settings))):
    check(found, plain_diverse(BIG, row, 4, 4, 2, 0.7, 0.6, plain, reading.at_end))


def test_rows_are_independent_and_inactive_rows_are_finished_at_once():
  settings = make_settings(BIG, 2, 0.5, 0.0, PlainRules(max_length=64))
  active = np.arange(ROWS) == 3
  state = searcher(BIG, 4, 2, 64)(settings, jnp.asarray(active))
  assert int(state.length) < 64 and state.finished.all()
  assert [bool(found) for found in read(state)] == active.tolist()
  together = searcher(BIG, 4, 2, 64)(settings, jnp.ones(ROWS, bool))
  assert read(state)[3] == read(together)[3]

"""Several tokens that end an output, for every search."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.fake_model import FakeModel, PlainRules, batched

from tfx_jax.decoding import beam, sample
from tfx_jax.decoding.loop import NO_TOKEN

ENDS, WORDS, LEAST, MOST, ROWS = (1, 3), (2, 4), 2, 4, 4
MODEL = FakeModel(5, seed=3)
# Both ends are what is likeliest everywhere, but words go on.
EAGER = FakeModel(5, seed=4)
EAGER.table[:, ENDS] += 6
EAGER.log_probs = np.asarray(jax.nn.log_softmax(jnp.asarray(EAGER.table)))


def rules():
  return dataclasses.replace(batched([PlainRules(LEAST, MOST)] * ROWS, 5, 8), eos=ENDS)


def searched(model, width, count, alpha=0.0):
  """The hypotheses of each row: tokens and score."""
  settings = beam.BeamSettings(rules(), jnp.float32(alpha), jnp.float32(5.0))

  @jax.jit
  def search(active):
    state = beam.begin(
      model.prefill(ROWS), settings, active, width=width, num_return=count, capacity=8
    )
    return beam.advance(model.step, state, model.history(ROWS, width), settings, 8)[0]

  state = search(jnp.ones(ROWS, bool))
  return [
    [([t for t in ids if t != NO_TOKEN], score) for ids, score in zip(*row, strict=True)]
    for row in zip(state.done_tokens.tolist(), state.done_score.tolist(), strict=True)
  ]


def possible(model, row):
  """All outputs, best first."""
  found = [
    ([*body, end], model.log_prob_of(row, [*body, end]))
    for length in range(LEAST, MOST + 1)
    for body in itertools.product(WORDS, repeat=length - 1)
    for end in ENDS
  ]
  return sorted(found, key=lambda item: -item[1])


@pytest.mark.parametrize("model", [MODEL, EAGER])
def test_a_wide_beam_ends_with_any_of_them_and_not_too_early(model):
  count = 2 * (2 + 4 + 8)
  for row, found in enumerate(searched(model, 28, count)):
    expected = possible(model, row)
    assert len(expected) == count and {tokens[-1] for tokens, _ in expected} == {*ENDS}
    assert sorted(tokens for tokens, _ in found) == sorted(tokens for tokens, _ in expected)
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], rtol=1e-4)


def test_beams_live_on_where_all_of_them_could_end():
  # The ends of all beams rank before what goes on, which by its length is better in the end.
  alpha = 8.0
  for row, found in enumerate(searched(EAGER, 2, 2, alpha)):
    live, done = [(0.0, [])], []
    for length in range(1, MOST + 1):
      grown = sorted(
        (total + float(EAGER.log_probs[EAGER.state_after(row, ids), t]), [*ids, t])
        for total, ids in live
        for t in ((*ENDS, *WORDS) if LEAST <= length < MOST else WORDS if length < LEAST else ENDS)
      )[::-1]
      penalty = ((5 + length) / 6) ** alpha
      done += [(ids, total / penalty) for total, ids in grown[:2] if ids[-1] in ENDS]
      live = [item for item in grown if item[1][-1] not in ENDS][:2]
    expected = sorted(done, key=lambda item: -item[1])[:2]
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]
    assert {len(ids) for ids, _ in found} == {MOST}
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], rtol=1e-4)


def test_greedy_search_stops_at_any_of_them():
  settings = sample.SampleSettings(rules())

  @jax.jit
  def search(active):
    state = sample.begin(MODEL.prefill(ROWS), settings, active, width=1, capacity=8)
    return sample.advance(MODEL.step, state, MODEL.history(ROWS, 1), settings, 8)[0]

  state = search(jnp.ones(ROWS, bool))
  lasts = set()
  for row, ((ids,), (ended,)) in enumerate(
    zip(state.tokens.tolist(), state.ended.tolist(), strict=True)
  ):
    tokens = [t for t in ids if t != NO_TOKEN]
    assert ended and tokens[-1] in ENDS and not {*tokens[:-1]} & {*ENDS}
    assert LEAST <= len(tokens) <= MOST and ids[len(tokens) :] == [NO_TOKEN] * (8 - len(tokens))
    lasts.add(tokens[-1])
    for n, token in enumerate(tokens):
      allowed = WORDS if n + 1 < LEAST else ENDS if n + 1 == MOST else (*ENDS, *WORDS)
      log_probs = MODEL.log_probs[MODEL.state_after(row, tokens[:n])]
      assert token == max(allowed, key=lambda t, p=log_probs: p[t])
  assert lasts == {*ENDS}, "the rows end in both ways"

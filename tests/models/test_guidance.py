"""Guidance against the formula in NumPy, for models with and without an encoder."""

import jax
import numpy as np
import pytest

SCALE = 2.5
INPUTS = ["abc", "fed cab bad", "d"]


@pytest.fixture(scope="module", params=["small", "alone"])
def run(request):
  return request.getfixturevalue(request.param)


def log_probs(run, source, ids):
  """Log-probabilities of each next token of `ids` behind a source, [T,V]."""
  layout = run.layout
  batch = layout.arrays([[[(np.array(source), np.array(ids))]]]) if layout.window else None
  if batch is None:
    batch = layout.arrays([([np.array(source)], [np.array(ids)])])
  bound = run.model.bind({"params": run.params})
  logits = bound.logits(bound(batch), batch.get("inputs"))[0]
  start = len(source) if layout.window else 0
  return np.asarray(jax.nn.log_softmax(logits, axis=-1), np.float64)[start : start + len(ids)]


def tokens(outputs):
  return [[output.tokens for output in row] for row in outputs]


def sources(run, text):
  """The sources that a decoder is given: that of a text, and an empty one."""
  (ids,) = run.tokenizer.encode([text])
  return run.layout.source(ids), run.layout.source([])


def test_scores_are_those_of_guided_probabilities(run):
  changes = {"guidance": SCALE, "beam_size": 1, "num_return": 1}
  for text, (best,) in zip(INPUTS, run.generator(run.params, INPUTS, **changes), strict=True):
    given, empty = (log_probs(run, source, best.tokens) for source in sources(run, text))
    guided = empty + SCALE * (given - empty)
    guided -= np.log(np.exp(guided).sum(axis=1, keepdims=True))
    picked = guided[np.arange(len(best.tokens)), best.tokens]
    assert best.log_prob == pytest.approx(picked.sum(), abs=2e-3)


def test_scale_0_ignores_the_source_and_scale_1_changes_nothing(run):
  greedy = {"beam_size": 1, "num_return": 1}
  outputs = run.generator(run.params, INPUTS, guidance=0.0, max_length_ratio=0.0, **greedy)
  assert len({tuple(best.tokens) for (best,) in outputs}) == 1
  plain = run.generator(run.params, INPUTS)
  assert run.generator(run.params, INPUTS, guidance=1.0) == plain
  close = run.generator(run.params, INPUTS, guidance=1.0 + 1e-6)
  assert tokens(close) == tokens(plain)


@pytest.mark.parametrize("search", ["beam", "sample"])
def test_outputs_do_not_depend_on_the_batch(run, search):
  changes = {"guidance": SCALE, "search": search, "num_return": 2}
  together = tokens(run.generator(run.params, INPUTS, **changes))
  assert tokens(run.generator(run.params, INPUTS, batch_size=1, **changes)) == together
  # Samples depend on the number of their input, which stays the same.
  assert tokens(run.generator(run.params, [*INPUTS, "ab"], **changes))[:-1] == together


def test_the_scale_is_not_compiled_in(run):
  changes = {"beam_size": 1, "num_return": 1}
  run.generator(run.params, INPUTS, guidance=2.0, **changes)
  compiled = run.generator._guided_programs.begin._compiled
  before = len(compiled)
  run.generator(run.params, INPUTS, guidance=3.0, **changes)
  assert before and len(compiled) == before

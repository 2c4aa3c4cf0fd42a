import jax
import numpy as np
import pytest

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.data.packing import pack
from tfx_jax.evaluation.score import Scorer


@pytest.fixture(scope="module")
def scorer(small):
  return Scorer(small.model, small.parallel, small.layout, batch_size=16)


def pairs(seed=0, count=21):
  """Token lists of ragged lengths, each ended."""
  rng = np.random.default_rng(seed)

  def sequence(longest):
    return [*rng.integers(4, 11, rng.integers(0, longest)).tolist(), EOS]

  return [sequence(16) for _ in range(count)], [sequence(12) for _ in range(count)]


def test_generated_tokens_have_the_log_probability_they_were_found_with(small, texts, scorer):
  texts = [text for text in texts if len(text) < 16][:20]
  found = small.generator(small.params, texts)
  flat = [(text, h) for text, hypotheses in zip(texts, found, strict=True) for h in hypotheses]
  sources = [[*ids, EOS] for ids in small.tokenizer.encode([text for text, _ in flat])]
  scores = scorer(small.params, sources, [h.tokens for _, h in flat])
  np.testing.assert_allclose(scores, [h.log_prob for _, h in flat], atol=1e-4)


def test_a_score_is_the_sum_over_the_tokens_whatever_the_order_and_the_batch(small, scorer):
  sources, targets = pairs()

  def log_probs(batch):
    bound = small.model.bind({"params": small.params})
    logits = bound.logits(bound(batch))
    return jax.nn.log_softmax(logits)

  # Other lengths than the scorer's, and a batch of one.
  log_probs = jax.jit(log_probs)
  expected = []
  for source, target in zip(sources, targets, strict=True):
    with small.parallel.context():
      row = np.asarray(log_probs(pack([[source]], [[target]], 20, 20)))[0]
    expected.append(sum(row[t, token] for t, token in enumerate(target)))
  scores = scorer(small.params, sources, targets)
  np.testing.assert_allclose(scores, expected, atol=1e-4)
  assert np.ptp(scores) > 5
  for order in (range(20, -1, -1), [7], [3, 3, 20]):
    some = scorer(small.params, [sources[i] for i in order], [targets[i] for i in order])
    np.testing.assert_allclose(some, [scores[i] for i in order], atol=1e-5)


def test_nothing_scores_nothing(small, scorer):
  assert scorer(small.params, [], []) == []
  assert scorer(small.params, [[4, EOS]], [[]]) == [0.0]


def test_programs_are_few(small, scorer):
  sources, targets = pairs(seed=1)
  scorer(small.params, sources, targets)
  programs = scorer._log_probs.jitted._cache_size()
  for count in (1, 2, 5, 16, 17, 21):
    scorer(small.params, sources[:count], targets[:count])
  assert scorer._log_probs.jitted._cache_size() == programs

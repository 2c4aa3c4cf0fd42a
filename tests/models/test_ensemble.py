"""Ensembles against a NumPy mean of their members' probabilities."""

import jax
import numpy as np
import pytest
from support.architectures import as_prompt
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.codecs.special_tokens import BOS, EOS
from tfx_jax.data.packing import pack
from tfx_jax.evaluation.align import Aligner
from tfx_jax.evaluation.score import Scorer
from tfx_jax.layers.cache import coverage as coverage_of
from tfx_jax.models.ensemble import combine
from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.step import make_loss_step

OTHER = {
  "model.features": 24,
  "model.decoder_layers": 2,
  "model.vocab_multiple": 32,
  "model.position": "rotary",
  "model.norm_placement": "post",
  "model.copy_head": True,
}
SOURCES = [[4, 5, 6, EOS], [9, 8, 7, 6, 5, 4, EOS]]
TARGETS = [[7, 4, 10, EOS], [5, 6, EOS]]


@pytest.fixture(scope="module")
def other(small, random_params):
  """A model of another architecture, which copies, and its parameters."""
  model = builders.make_model(make_config(OTHER), (small.tokenizer, small.tokenizer))
  return model, random_params(model, small.parallel)


@pytest.fixture(scope="module")
def both(small, other):
  return combine((small.model, other[0]), (small.params, other[1]))


@pytest.fixture(scope="module")
def members(small, other):
  return (small.model, small.params), other


def rows():
  return pack([[s] for s in SOURCES], [[t] for t in TARGETS], 8, 4)


@pytest.fixture(scope="module")
def mean(members):
  """The mean of the members' probabilities of each next token, [B,T,V] without padding."""

  @jax.jit
  def logits(batch):
    return [
      bound.logits(bound(batch), batch["inputs"])
      for bound in (model.bind({"params": p}) for model, p in members)
    ]

  found = [np.asarray(x, np.float64)[..., :11] for x in logits(rows())]
  shares = [np.exp(x - x.max(-1, keepdims=True)) for x in found]
  shares = [x / x.sum(-1, keepdims=True) for x in shares]
  assert np.abs(shares[0] - shares[1]).max() > 0.3
  return sum(shares) / 2


def test_steps_on_a_forced_path_have_the_mean_of_the_probabilities(both, mean, members):
  model, params = both
  batch = rows()
  start = as_prompt({n: x if n.startswith("inputs") else x[:, :1] for n, x in batch.items()})
  assert (start["prompt"] == BOS).all()
  step = jax.jit(lambda params, *args: model.bind({"params": params}).decode(*args))
  logits, cache = jax.jit(
    lambda params, batch: model.bind({"params": params}).prefill(batch, 3, 2, 0)
  )(params, start)
  sums = [np.asarray(m.bind({"params": p}).attention(batch, 0)) for m, p in members]
  for t in range(4):
    probabilities = np.exp(np.asarray(logits))
    np.testing.assert_allclose(probabilities.sum(-1), np.ones(probabilities.shape[:-1]), rtol=1e-5)
    for row in range(2):
      if t < len(TARGETS[row]):
        found = probabilities[row].reshape(-1, probabilities.shape[-1])
        for beam in found:
          np.testing.assert_allclose(beam[:11], mean[row, t], atol=1e-5)
        coverage = coverage_of(cache)[row, 1]
        expected = sum(weights[row, : t + 1].sum(0) for weights in sums) / 2
        np.testing.assert_allclose(coverage, expected, atol=1e-5)
    if t < 3:
      tokens = np.repeat(batch["targets"][:, t : t + 1], 2, axis=1)
      logits, cache = step(params, tokens, np.array([[0, 1]] * 2, np.int32), cache)


def test_scores_and_losses_are_those_of_the_mean(small, both, mean):
  expected = [
    sum(np.log(mean[row, t, token]) for t, token in enumerate(target))
    for row, target in enumerate(TARGETS)
  ]
  model, params = both
  scores = Scorer(model, small.parallel, small.layout, 8)(params, SOURCES, TARGETS)
  np.testing.assert_allclose(scores, expected, rtol=1e-4)
  loss = jax.jit(make_loss_step(TokenObjective(model)))(params, rows())
  np.testing.assert_allclose(loss.total, -sum(expected), rtol=1e-4)
  assert loss.count == 7


def test_attention_is_the_mean_of_the_members(small, both, members):
  model, params = both
  (found, *_) = Aligner(model, small.parallel, small.layout, 8, -1)(params, SOURCES, TARGETS)
  one, other = (
    Aligner(m, small.parallel, small.layout, 8, -1)(p, SOURCES, TARGETS)[0] for m, p in members
  )
  np.testing.assert_allclose(found, (one + other) / 2, atol=1e-6)
  assert np.abs(one - other).max() > 0.1


def generator(small, model):
  return builders.make_generator(small.config, model, (small.tokenizer,) * 2, small.parallel)


def test_a_model_with_itself_is_the_model(small, texts):
  texts = [text for text in texts if len(text) < 8][:20]
  model, params = combine((small.model,) * 2, (small.params,) * 2)
  twice = generator(small, model)(params, texts, coverage_penalty=0.5)
  once = small.generator(small.params, texts, coverage_penalty=0.5)
  for a, b in zip(twice, once, strict=True):
    assert [h.tokens for h in a] == [h.tokens for h in b]
    for field in ("score", "log_prob"):
      np.testing.assert_allclose(
        [getattr(h, field) for h in a], [getattr(h, field) for h in b], atol=1e-4
      )


def test_what_an_ensemble_writes_has_the_log_probability_it_gives(small, texts, both):
  texts = [text for text in texts if len(text) < 8][:8]
  model, params = both
  found = generator(small, model)(params, texts)
  sources = [[*ids, EOS] for ids in small.tokenizer.encode(texts)]
  pairs = [(source, h) for source, best in zip(sources, found, strict=True) for h in best]
  scores = Scorer(model, small.parallel, small.layout, 64)(
    params, *zip(*((s, h.tokens) for s, h in pairs), strict=True)
  )
  np.testing.assert_allclose(scores, [h.log_prob for _, h in pairs], atol=1e-4)
  alone = small.generator(small.params, texts)
  assert [best[0].tokens for best in found] != [best[0].tokens for best in alone]

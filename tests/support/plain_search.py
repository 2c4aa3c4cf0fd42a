"""Searches in plain Python: brute force, and a beam search as its definition reads."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from support.fake_model import EOS, STATES, FakeModel, cut

from tfx_jax.decoding import beam
from tfx_jax.decoding.coverage import coverage_penalty

MODEL = FakeModel(5, seed=0)


def read(state):
  """Hypotheses of each row as (tokens, score, log-probability), without empty places."""
  out = []
  groups = getattr(state, "groups", (state,))
  done = [
    np.concatenate([getattr(group, name) for group in groups], axis=1)
    for name in ("done_tokens", "done_score", "done_log_prob")
  ]
  for tokens, scores, log_probs in zip(*map(np.asarray, done), strict=True):
    out.append(
      [
        (cut(t), float(s), float(p))
        for t, s, p in zip(tokens.tolist(), scores, log_probs, strict=True)
        if np.isfinite(s)
      ]
    )
  return out


def penalty(n, alpha, offset):
  return ((offset + n) / (offset + 1)) ** alpha


def ruled_sum(model, row, tokens, rules):
  """Log-probability under the rules; minus infinity if they do not allow the sequence."""
  steps = (
    rules.log_probs(model.table[model.state_after(row, tokens[:n])], tokens[:n])[token]
    for n, token in enumerate(tokens)
  )
  return sum(steps)


def nothing(row, tokens):
  return 0.0


def brute_force(model, row, alpha, offset, count, rules, at_end=nothing):
  scored = []
  for n in range(1, rules.max_length + 1):
    for body in itertools.product([t for t in range(model.vocab) if t != EOS], repeat=n - 1):
      tokens = (*body, EOS)
      if legal(tokens, rules):
        score = ruled_sum(model, row, tokens, rules) / penalty(n, alpha, offset)
        scored.append((score + at_end(row, tokens), tokens, model.log_prob_of(row, tokens)))
  return sorted(scored, reverse=True)[:count]


def legal(tokens, rules):
  """Returns whether the rules allow a whole sequence."""
  n = rules.ngram or len(tokens)
  grams = [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
  return (
    len(tokens) >= rules.min_length
    and not set(tokens) & set(rules.forbidden)
    and tokens[: len(rules.prefix)] == rules.prefix
    and len(set(grams)) == len(grams)
  )


def plain_beam(model, row, width, count, alpha, offset, rules, at_end=nothing):
  """Beam search as the module's docstring defines it, without the stop, for one row."""
  live, done = [(0.0, ())], []
  for n in range(1, rules.max_length + 1):
    candidates = []
    for total, tokens in live:
      log_probs = rules.log_probs(model.table[model.state_after(row, tokens)], tokens)
      candidates += [(total + p, (*tokens, t)) for t, p in enumerate(log_probs) if p > -np.inf]
    candidates = sorted(candidates, reverse=True)[: 2 * width]
    ended = [c for c in candidates[:width] if c[1][-1] == EOS]
    done += [
      (p / penalty(n, alpha, offset) + at_end(row, t), t, model.log_prob_of(row, t))
      for p, t in ended
    ]
    live = [c for c in candidates if c[1][-1] != EOS][:width]
  return sorted(done, reverse=True)[:count]


def check(found, expected):
  assert [f[0] for f in found] == [e[1] for e in expected]
  np.testing.assert_allclose([f[1] for f in found], [e[0] for e in expected], rtol=2e-5)
  np.testing.assert_allclose([f[2] for f in found], [e[2] for e in expected], rtol=2e-5)


class Reading:
  """Random attention to 3 source positions (2 in odd rows), summed for each beam."""

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
    """Computes the penalty of one hypothesis by its formula."""
    total = sum(self.weights[self.model.state_after(row, tokens[:n])] for n in range(len(tokens)))
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
        capacity=length,
        end_penalty=self.ending(cache),
      )
      return beam.advance(self.step, state, cache, settings, length, self.ending)[0]

    return search

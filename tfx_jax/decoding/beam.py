"""Beam search over `step(tokens, parents, cache) -> (logits, cache)`; it knows no model.

A hypothesis is a sequence of tokens that ends with EOS. Its score is

    log_prob / penalty(length),    penalty(n) = ((c + n) / (c + 1)) ** length_penalty.

Both log_prob and the length include EOS. log_prob is the log-probability under the rules of
`decoding/rules.py`. It differs from the model's own only if the rules penalize repetition or
presence. c = 5 gives the penalty of Wu et al. (2016, arXiv:1609.08144, eq. 14), c = 0 the plain
power. The caller may add a term to the score of each hypothesis when it ends, such as the coverage
penalty of the same equation. This term must not be above 0.

At every step the continuations of a row's W live beams are ranked. Those among the best W that end
with EOS enter the pool, which keeps the R hypotheses with the best scores. The best W of those that
do not end are the live beams of the next step. With W = 1 and no length penalty this is greedy
search.

A row stops when no live beam can change its pool any more. This does not change the result:

1. Let p be the log-probability of a live beam. Every continuation has at most this log-probability,
   because each further token adds a log-probability, which is at most 0.
2. The term that the caller adds is at most 0, so it cannot raise a score.
3. Such a hypothesis is at least one token longer than the beam, and at most `max_length` long. The
   penalty is monotone in the length, so p / penalty is greatest at one of these two lengths.
4. So no hypothesis to come scores more than max(p / penalty(next), p / penalty(max_length)). If the
   worst of R pooled hypotheses scores at least that much for every live beam, none can replace it.

This holds for any length penalty, negative ones included. With `early_stopping` a row stops as soon
as its pool is full, and the result may differ from that of the full search.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.logits import NEG_INF, is_end
from tfx_jax.decoding.loop import NO_TOKEN, Cache, Step, run_steps
from tfx_jax.decoding.rules import Rules, apply_rules
from tfx_jax.decoding.top_k import top_k

# Computes from the cache the term [B,W] that is added to a beam's score if its next token ends it.
EndPenalty = Callable[[Cache], jax.Array]


@struct.dataclass
class BeamSettings:
  """Settings of a beam search. They are traced: to change a value does not recompile.

  Attributes:
    rules: constraints on the next token.
    length_penalty: exponent, scalar.
    penalty_offset: c of the penalty, scalar; `generation/settings.py` names its values.
    prompt_length: scalar, tokens that every output began with before the first generated one. They
      count in the length, with log-probability 0.
    early_stopping: bool scalar, whether a row stops as soon as its pool is full.
  """

  rules: Rules
  length_penalty: jax.Array
  penalty_offset: jax.Array
  prompt_length: jax.Array | int = 0
  early_stopping: jax.Array | bool = False

  def penalty(self, length: jax.Array) -> jax.Array:
    """Length penalty: the divisor of the log-probability of `length` generated tokens."""
    offset = self.penalty_offset
    return ((offset + self.prompt_length + length) / (offset + 1.0)) ** self.length_penalty


@struct.dataclass
class BeamState:
  """Progress of a beam search after `length` tokens.

  Attributes:
    length: int32 scalar.
    live_tokens: int32 [B,W,T]; `NO_TOKEN` from place `length` on.
    live_sum: [B,W], log-probability under the rules, by which beams are ranked; minus infinity for
      an empty beam.
    live_log_prob: [B,W], log-probability by the model.
    parents: int32 [B,W], the beam of the previous step that each live beam continues.
    done_tokens: int32 [B,R,T], the pool, best hypothesis first; `NO_TOKEN` after EOS.
    done_score: [B,R], minus infinity for an empty place.
    done_log_prob: [B,R], log-probability by the model.
    finished: bool [B].
  """

  length: jax.Array
  live_tokens: jax.Array
  live_sum: jax.Array
  live_log_prob: jax.Array
  parents: jax.Array
  done_tokens: jax.Array
  done_score: jax.Array
  done_log_prob: jax.Array
  finished: jax.Array

  @property
  def capacity(self) -> int:
    """Most tokens of an output, T."""
    return self.live_tokens.shape[2]

  @property
  def last_elements(self) -> jax.Array:
    """Newest token of each live beam, int32 [B,W]."""
    # [B,W,T] -> [B,W]
    return jax.lax.dynamic_index_in_dim(self.live_tokens, self.length - 1, 2, keepdims=False)


def begin(
  logits: jax.Array,
  settings: BeamSettings,
  active: jax.Array,
  *,
  width: int,
  num_return: int,
  capacity: int,
  end_penalty: jax.Array | None = None,
) -> BeamState:
  """Starts a search and expands it by the first token.

  Args:
    logits: [B,V], of the first token to generate.
    settings: see `BeamSettings`.
    active: bool [B]; false for rows that only fill the batch, which are finished at once.
    width: W, live beams of each row.
    num_return: R, hypotheses kept of each row, at most W.
    capacity: T, at least the greatest `max_length`.
    end_penalty: [B,W], see `expand`.
  """
  rows, vocab = logits.shape
  logits = jnp.broadcast_to(logits[:, None], (rows, width, vocab))  # [B,V] -> [B,W,V]
  state = empty(active, width, num_return, capacity)
  return _expand_unfinished(state, logits, settings, end_penalty)


def empty(active: jax.Array, width: int, num_return: int, capacity: int) -> BeamState:
  """Returns the state before the first token, with one live beam in each active row."""
  (rows,) = active.shape
  return BeamState(
    length=jnp.zeros((), jnp.int32),
    live_tokens=jnp.full((rows, width, capacity), NO_TOKEN, jnp.int32),  # [B,W,T]
    # All beams would be the same before the first token, so only one of them is live.
    live_sum=jnp.full((rows, width), NEG_INF).at[:, 0].set(jnp.where(active, 0.0, NEG_INF)),
    live_log_prob=jnp.zeros((rows, width)),  # [B,W]
    parents=jnp.zeros((rows, width), jnp.int32),
    done_tokens=jnp.full((rows, num_return, capacity), NO_TOKEN, jnp.int32),  # [B,R,T]
    done_score=jnp.full((rows, num_return), NEG_INF),  # [B,R]
    done_log_prob=jnp.full((rows, num_return), NEG_INF),
    finished=~active,
  )


def advance(
  step: Step,
  state: BeamState,
  cache: Cache,
  settings: BeamSettings,
  steps: jax.Array | int,
  end_penalty: EndPenalty | None = None,
) -> tuple[BeamState, Cache]:
  """Adds at most `steps` tokens; stops before if every row is finished. See `loop.run_steps`."""

  def add_token(state: BeamState, logits: jax.Array, cache: Cache) -> BeamState:
    # From the cache after the step, so that the penalty includes the newest token.
    penalty = None if end_penalty is None else end_penalty(cache)
    return _expand_unfinished(state, logits, settings, penalty)

  return run_steps(add_token, step, state, cache, steps)


def expand(
  state: BeamState,
  logits: jax.Array,
  settings: BeamSettings,
  end_penalty: jax.Array | None = None,
  rank_penalty: jax.Array | None = None,
) -> BeamState:
  """Expands every live beam by one token; does not yet empty the beams of finished rows.

  Args:
    state: the beams so far.
    logits: [B,W,V].
    settings: see `BeamSettings`.
    end_penalty: [B,W], added to the score of each beam if this token ends it; at most 0.
    rank_penalty: [B,V], subtracted from the rank of continuations by each token, at this step only;
      neither sums nor scores contain it.

  Returns:
    The state after this token, where `finished` holds the rows whose pools cannot change any more.
  """
  width = logits.shape[1]
  length = state.length + 1
  rank, total, log_prob, beam, token = _candidates(state, logits, settings.rules, rank_penalty)
  tokens = _gather(state.live_tokens, beam)  # [B,W,T] -> [B,C,T]
  # [B,C] -> [B,C,1], written into [B,C,T] at place `length` - 1.
  tokens = jax.lax.dynamic_update_slice_in_dim(tokens, token[..., None], state.length, axis=2)
  ends = is_end(token, settings.rules.eos)

  score = total / settings.penalty(length)  # [B,C]
  if end_penalty is not None:
    score = score + _gather(end_penalty, beam)  # [B,W] -> [B,C]
  # Only the best W candidates may finish: an unlikely one must not take a place in the pool.
  score = jnp.where(ends, score, NEG_INF).at[:, width:].set(NEG_INF)
  # The pool and the new hypotheses compete for R places: [B,R] and [B,C] -> [B,R+C] -> [B,R].
  done_score, done_tokens, done_log_prob = _best(
    state.done_score.shape[1],
    jnp.concatenate([state.done_score, score], axis=1),
    jnp.concatenate([state.done_tokens, tokens], axis=1),
    jnp.concatenate([state.done_log_prob, log_prob], axis=1),
  )
  # The best W candidates that do not end live on: [B,C] -> [B,W].
  _, live_sum, live_tokens, live_log_prob, parents = _best(
    width, jnp.where(ends, NEG_INF, rank), jnp.where(ends, NEG_INF, total), tokens, log_prob, beam
  )
  return BeamState(
    length=length,
    live_tokens=live_tokens,
    live_sum=live_sum,
    live_log_prob=live_log_prob,
    parents=parents,
    done_tokens=done_tokens,
    done_score=done_score,
    done_log_prob=done_log_prob,
    finished=state.finished | _may_stop(live_sum, done_score[:, -1], length, settings),
  )


def finish_rows(state: BeamState, finished: jax.Array) -> BeamState:
  """Marks rows as finished, bool [B], and empties their beams, so that their pools stay."""
  live_sum = jnp.where(finished[:, None], NEG_INF, state.live_sum)  # [B,1], [B,W] -> [B,W]
  return dataclasses.replace(state, live_sum=live_sum, finished=finished)


def _expand_unfinished(
  state: BeamState, logits: jax.Array, settings: BeamSettings, end_penalty: jax.Array | None
) -> BeamState:
  """Expands by one token and empties the beams of rows that this finishes; see `expand`."""
  state = expand(state, logits, settings, end_penalty)
  return finish_rows(state, state.finished)


def _candidates(
  state: BeamState, logits: jax.Array, rules: Rules, rank_penalty: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
  """Best continuations of each row, best first; C = 2W of them, with E end tokens (E + 1) W.

  Returns:
    Five arrays [B,C]: rank, log-probability under the rules, log-probability by the model, beam
    that is continued, and token that continues it.
  """
  rows, width, vocab = logits.shape
  log_probs, ruled = apply_rules(rules, logits, state.live_tokens, state.length)  # each [B,W,V]
  total = state.live_sum[..., None] + ruled  # [B,W,1] + [B,W,V] -> [B,W,V]
  log_prob = state.live_log_prob[..., None] + log_probs
  # [B,V] -> [B,1,V]: the same penalty for all beams.
  rank = total if rank_penalty is None else total - rank_penalty[:, None]
  # With each of E end tokens at most W candidates end, so W of C = (E + 1) W are left to live on.
  count = (len(rules.eos) + 1) * width
  rank, index = top_k(rank.reshape(rows, width * vocab), count)  # [B,W*V] -> [B,C]
  total, log_prob = (_gather(x.reshape(rows, width * vocab), index) for x in (total, log_prob))
  # The index into [W*V] is beam * V + token.
  return rank, total, log_prob, index // vocab, index % vocab


def _may_stop(
  live_sum: jax.Array, worst: jax.Array, length: jax.Array, settings: BeamSettings
) -> jax.Array:
  """Returns the rows whose pools are final, or full if `early_stopping`; bool [B].

  Args:
    live_sum: [B,W], of beams of `length` tokens.
    worst: [B], score of the last place in each pool, minus infinity where the pool is not full.
    length: scalar.
    settings: see `BeamSettings`.
  """
  best = live_sum.max(axis=1)  # [B,W] -> [B]
  # Upper bound on every score to come, [B], see the proof above. Empty beams reach minus infinity.
  best_reachable = jnp.maximum(
    best / settings.penalty(length + 1), best / settings.penalty(settings.rules.max_length)
  )
  return (worst >= best_reachable) | (settings.early_stopping & (worst > NEG_INF))


def _best(count: int, score: jax.Array, *others: jax.Array) -> tuple[jax.Array, ...]:
  """Returns the `count` highest of `score` [B,M], best first, and the same places of `others`."""
  score, index = jax.lax.top_k(score, count)  # [B,M] -> [B,K]
  return score, *(_gather(x, index) for x in others)


def _gather(x: jax.Array, index: jax.Array) -> jax.Array:
  """Selects places of each row: x [B,M,...] at index [B,K] -> [B,K,...]."""
  return jnp.take_along_axis(x, index.reshape(index.shape + (1,) * (x.ndim - 2)), axis=1)

"""Beam search over `step(tokens, parents, cache) -> (logits, cache)`; it knows no model.

A hypothesis is a sequence that ends with EOS. Its score is

    log_prob / penalty(length),    penalty(n) = ((c + n) / (c + 1)) ** length_penalty,

with EOS counted in both, and log_prob under the rules of `decoding/rules.py`, which is the model's
own unless they penalise repetition. c = 5 is the penalty of Wu et al. (2016, arXiv:1609.08144,
eq. 14), c = 0 the plain power. A caller may add something to the score of what ends, never above 0:
the coverage penalty of the same equation is that.

At every step the continuations of a row's W live beams are ranked: those among the W best that end
enter the pool of the best R hypotheses, and the W best of those that do not end live on. With W = 1
and no length penalty this is greedy search.

A row stops when its R pooled hypotheses can no longer change: log-probabilities only fall, what
ending adds is never above 0, and the penalty is monotone in the length, so a live beam of
log-probability p can reach at most max(p / penalty(next), p / penalty(max_length)). The result is
therefore the same as without the stop, for any length penalty, negative ones included. With
`early_stopping` it stops as soon as the pool is full.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.logits import NEG_INF, is_end
from tfx_jax.decoding.loop import NO_TOKEN, Step, go_on
from tfx_jax.decoding.rules import Rules, apply_rules
from tfx_jax.decoding.top_k import top_k

PENALTY_OFFSETS = {"gnmt": 5.0, "power": 0.0}

# From the cache to what is added to the score of each beam, [B,W], if its next token ends it.
Ending = Callable[[Any], jax.Array]


@struct.dataclass
class BeamSettings:
  """Numbers of the search; they are traced, so changing them compiles nothing.

  Attributes:
    rules: on the next token.
    length_penalty: exponent, scalar.
    penalty_offset: c of the penalty, scalar; see `PENALTY_OFFSETS`.
    given: tokens that every output began with before the first one generated, scalar: they count in
      the length, and their log-probability as 0.
    early_stopping: bool scalar, whether a row stops when its pool is full.
  """

  rules: Rules
  length_penalty: jax.Array
  penalty_offset: jax.Array
  given: jax.Array | int = 0
  early_stopping: jax.Array | bool = False

  def penalty(self, length: jax.Array) -> jax.Array:
    """What a hypothesis of `length` tokens has its log-probability divided by."""
    offset = self.penalty_offset
    return ((offset + self.given + length) / (offset + 1.0)) ** self.length_penalty


@struct.dataclass
class BeamState:
  """Where the search stands after `length` tokens.

  Attributes:
    length: int32 scalar.
    live_tokens: int32 [B,W,T].
    live_sum: [B,W], what beams are ranked by: their log-probability under the rules, minus infinity
      for an empty beam.
    live_log_prob: [B,W], that of the model.
    parents: int32 [B,W], the beam of the step before that each live beam continues.
    done_tokens: int32 [B,R,T], best first; `NO_TOKEN` after EOS.
    done_score: [B,R], minus infinity for an empty place.
    done_log_prob: [B,R], of the model.
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
  def room(self) -> int:
    """T."""
    return self.live_tokens.shape[2]

  @property
  def last_tokens(self) -> jax.Array:
    """The newest token of each live beam, [B,W]."""
    return jax.lax.dynamic_index_in_dim(self.live_tokens, self.length - 1, 2, keepdims=False)


def begin(
  logits: jax.Array,
  settings: BeamSettings,
  active: jax.Array,
  *,
  width: int,
  num_return: int,
  length: int,
  at_end: jax.Array | None = None,
) -> BeamState:
  """Starts a search from the prompt's logits [B,V] and makes its first expansion.

  Args:
    logits: [B,V], of the first token to generate.
    settings: see `BeamSettings`.
    active: bool [B]; rows that only fill up the batch are false and finished at once.
    width: W, live beams per row.
    num_return: R, hypotheses kept per row, at most W.
    length: T, room for tokens; at least every `max_length`.
    at_end: [B,W], see `expand`.
  """
  rows, vocab = logits.shape
  logits = jnp.broadcast_to(logits[:, None], (rows, width, vocab))
  return expand(empty(active, width, num_return, length), logits, settings, at_end)


def empty(active: jax.Array, width: int, num_return: int, length: int) -> BeamState:
  """The state before the first token, with one live beam for each active row; see `begin`."""
  (rows,) = active.shape
  return BeamState(
    length=jnp.zeros((), jnp.int32),
    live_tokens=jnp.full((rows, width, length), NO_TOKEN, jnp.int32),
    live_sum=jnp.full((rows, width), NEG_INF).at[:, 0].set(jnp.where(active, 0.0, NEG_INF)),
    live_log_prob=jnp.zeros((rows, width)),
    parents=jnp.zeros((rows, width), jnp.int32),
    done_tokens=jnp.full((rows, num_return, length), NO_TOKEN, jnp.int32),
    done_score=jnp.full((rows, num_return), NEG_INF),
    done_log_prob=jnp.full((rows, num_return), NEG_INF),
    finished=~active,
  )


def advance(
  step: Step,
  state: BeamState,
  cache: Any,
  settings: BeamSettings,
  steps: jax.Array,
  ending: Ending | None = None,
) -> tuple[BeamState, Any]:
  """Goes on for at most `steps` tokens, or until every row is finished; for `ending` see there."""

  def one_more(state: BeamState, logits: jax.Array, cache: Any) -> BeamState:
    return expand(state, logits, settings, None if ending is None else ending(cache))

  return go_on(one_more, step, state, cache, steps)


def expand(
  state: BeamState, logits: jax.Array, settings: BeamSettings, at_end: jax.Array | None = None
) -> BeamState:
  """Continues every live beam by one token, and lets beams of finished rows go.

  Args:
    state: the beams so far.
    logits: [B,W,V].
    settings: see `BeamSettings`.
    at_end: [B,W], added to the score of each beam if this token ends it: 0 or less.
  """
  grown = grow(state, logits, settings, at_end)
  return release(grown, grown.finished)


def grow(
  state: BeamState,
  logits: jax.Array,
  settings: BeamSettings,
  at_end: jax.Array | None = None,
  handicap: jax.Array | None = None,
) -> BeamState:
  """Continues every live beam by one token; `finished` are rows whose pools cannot change any more.

  Args:
    state: the beams so far.
    logits: [B,W,V].
    settings: see `BeamSettings`.
    at_end: [B,W], added to the score of each beam if this token ends it: 0 or less.
    handicap: [B,V], taken from what continuations by each token are ranked by at this step, and
      from nothing else.
  """
  _, width, vocab = logits.shape
  length = state.length + 1
  log_probs, ruled = apply_rules(settings.rules, logits, state.live_tokens, state.length)
  total = state.live_sum[..., None] + ruled
  rank = total if handicap is None else total - handicap[:, None]
  # By each of E end tokens at most W candidates end, so W of (E+1)W are left to live on.
  candidates = (len(settings.rules.eos) + 1) * width
  rank, index = top_k(rank.reshape(-1, width * vocab), candidates)
  total, log_prob = (
    jnp.take_along_axis(x.reshape(-1, width * vocab), index, axis=1)
    for x in (total, state.live_log_prob[..., None] + log_probs)
  )
  beam, token = index // vocab, index % vocab
  tokens = jnp.take_along_axis(state.live_tokens, beam[..., None], axis=1)
  tokens = jax.lax.dynamic_update_slice_in_dim(tokens, token[..., None], state.length, axis=2)
  ends = is_end(token, settings.rules.eos)

  score = total / settings.penalty(length)
  if at_end is not None:
    score = score + jnp.take_along_axis(at_end, beam, axis=1)
  score = jnp.where(ends, score, NEG_INF).at[:, width:].set(NEG_INF)
  done_score, done_tokens, done_log_prob = _best(
    state.done_score.shape[1],
    jnp.concatenate([state.done_score, score], axis=1),
    jnp.concatenate([state.done_tokens, tokens], axis=1),
    jnp.concatenate([state.done_log_prob, log_prob], axis=1),
  )
  _, live_sum, live_tokens, live_log_prob, parents = _best(
    width, jnp.where(ends, NEG_INF, rank), jnp.where(ends, NEG_INF, total), tokens, log_prob, beam
  )

  hope = live_sum.max(axis=1)
  hope = jnp.maximum(
    hope / settings.penalty(length + 1), hope / settings.penalty(settings.rules.max_length)
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
    finished=state.finished
    | (done_score[:, -1] >= hope)
    | (settings.early_stopping & (done_score[:, -1] > NEG_INF)),
  )


def release(state: BeamState, finished: jax.Array) -> BeamState:
  """Marks rows as finished, bool [B], and empties their beams."""
  live_sum = jnp.where(finished[:, None], NEG_INF, state.live_sum)
  return state.replace(live_sum=live_sum, finished=finished)


def _best(count: int, score: jax.Array, *others: jax.Array) -> tuple[jax.Array, ...]:
  """The `count` highest of `score` [B,M], best first, and the same places of the `others`."""
  score, index = jax.lax.top_k(score, count)
  gathered = (
    jnp.take_along_axis(x, index.reshape(index.shape + (1,) * (x.ndim - 2)), axis=1) for x in others
  )
  return score, *gathered

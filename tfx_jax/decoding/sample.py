"""Sampling over `step(tokens, parents, cache) -> (logits, cache)`; it knows no model.

W samples of a row are drawn at once, each token from

    softmax(truncate(log_probs)), see `decoding/truncation.py`,

where log_probs are those under the rules of `decoding/rules.py`. What a sample draws depends on
the seed, the number of its input and its own number, and on nothing else: not on the batch, nor
on how many samples there are. Its log-probability is the model's, EOS counted.

Where nothing is left to chance, the likeliest token is taken: that is greedy search.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.logits import is_end
from tfx_jax.decoding.loop import NO_TOKEN, Step, go_on
from tfx_jax.decoding.rules import Rules, apply_rules
from tfx_jax.decoding.top_k import top_k
from tfx_jax.decoding.truncation import Truncation, truncate


@struct.dataclass
class Chance:
  """What draws depend on.

  Attributes:
    seed: uint32 scalar.
    number: int32 [B], the number of each row's input.
    truncation: what may be drawn.
  """

  seed: jax.Array
  number: jax.Array
  truncation: Truncation


@struct.dataclass
class SampleSettings:
  """Numbers of the search; they are traced, so changing them compiles nothing.

  Attributes:
    rules: on the next token.
    chance: None: the likeliest token is taken.
  """

  rules: Rules
  chance: Chance | None = None


@struct.dataclass
class SampleState:
  """Where the search stands after `length` tokens.

  Attributes:
    length: int32 scalar.
    tokens: int32 [B,W,T]; `NO_TOKEN` after EOS.
    log_probs: [B,W,T], of each token by the model; zeros after EOS.
    ended: bool [B,W], which samples have their EOS, or were cut.
  """

  length: jax.Array
  tokens: jax.Array
  log_probs: jax.Array
  ended: jax.Array

  @property
  def log_prob(self) -> jax.Array:
    """Of each sample by the model, [B,W]."""
    return self.log_probs.sum(axis=2)

  @property
  def room(self) -> int:
    """T."""
    return self.tokens.shape[2]

  @property
  def last_tokens(self) -> jax.Array:
    """The newest token of each sample, [B,W]."""
    return jax.lax.dynamic_index_in_dim(self.tokens, self.length - 1, 2, keepdims=False)

  @property
  def parents(self) -> jax.Array:
    """Each sample continues itself, int32 [B,W]."""
    return jax.lax.broadcasted_iota(jnp.int32, self.ended.shape, 1)

  @property
  def finished(self) -> jax.Array:
    """Rows whose samples have all ended, bool [B]."""
    return self.ended.all(axis=1)


def begin(
  logits: jax.Array, settings: SampleSettings, active: jax.Array, *, width: int, length: int
) -> SampleState:
  """Starts from the prompt's logits [B,V] and draws the first token of each sample.

  Args:
    logits: [B,V], of the first token to generate.
    settings: see `SampleSettings`.
    active: bool [B]; rows that only fill up the batch are false and finished at once.
    width: W, samples of a row.
    length: T, room for tokens; at least every `max_length`.
  """
  rows, vocab = logits.shape
  state = SampleState(
    length=jnp.zeros((), jnp.int32),
    tokens=jnp.full((rows, width, length), NO_TOKEN, jnp.int32),
    log_probs=jnp.zeros((rows, width, length)),
    ended=jnp.broadcast_to(~active[:, None], (rows, width)),
  )
  return expand(state, jnp.broadcast_to(logits[:, None], (rows, width, vocab)), settings)


def advance(
  step: Step, state: SampleState, cache: Any, settings: SampleSettings, steps: jax.Array
) -> tuple[SampleState, Any]:
  """Goes on for at most `steps` tokens, or until every row is finished."""
  return go_on(lambda state, logits, _: expand(state, logits, settings), step, state, cache, steps)


def expand(state: SampleState, logits: jax.Array, settings: SampleSettings) -> SampleState:
  """Draws the next token of every sample that has not ended, given the logits [B,W,V]."""
  log_probs, ruled = apply_rules(settings.rules, logits, state.tokens, state.length)
  if settings.chance is None:
    token = top_k(ruled.reshape(-1, ruled.shape[2]), 1)[1].reshape(ruled.shape[:2])
  else:
    token = _draw(_keys(settings.chance, state), truncate(settings.chance.truncation, ruled))
  log_prob = jnp.take_along_axis(log_probs, token[..., None], axis=2)[..., 0]
  token = jnp.where(state.ended, NO_TOKEN, token)

  def write(old: jax.Array, new: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(old, new[..., None], state.length, axis=2)

  return SampleState(
    length=state.length + 1,
    tokens=write(state.tokens, token),
    log_probs=write(state.log_probs, jnp.where(state.ended, 0.0, log_prob)),
    ended=state.ended | is_end(token, settings.rules.eos),
  )


def cut(state: SampleState, kept: jax.Array) -> SampleState:
  """Ends samples after `kept` [B,W] tokens; T: they are left as they are."""
  beyond = jnp.arange(state.room)[None, None] >= kept[..., None]
  return state.replace(
    tokens=jnp.where(beyond, NO_TOKEN, state.tokens),
    log_probs=jnp.where(beyond, 0.0, state.log_probs),
    ended=state.ended | (kept < state.room),
  )


def _keys(chance: Chance, state: SampleState) -> jax.Array:
  """The keys [B,W] of this step's draws."""
  seed = jax.random.key(chance.seed)

  def key(number: jax.Array, sample: jax.Array) -> jax.Array:
    return functools.reduce(jax.random.fold_in, (number, sample, state.length), seed)

  of_row = jax.vmap(key, (None, 0))
  return jax.vmap(of_row, (0, None))(chance.number, jnp.arange(state.ended.shape[1]))


def _draw(keys: jax.Array, logits: jax.Array) -> jax.Array:
  """A token [B,W] of each distribution [B,W,V]."""
  return jax.vmap(jax.vmap(jax.random.categorical))(keys, logits)

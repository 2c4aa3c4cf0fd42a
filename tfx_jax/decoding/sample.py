"""Sampling over `step(tokens, parents, cache) -> (logits, cache)`; it knows no model.

W samples of each row are drawn at once. Each token is drawn from

    softmax(truncate(log_probs)), see `decoding/truncation.py`,

where log_probs are the log-probabilities under the rules of `decoding/rules.py`. A sample depends
only on the seed, on the number of its input and on its number in the row. It does not depend on
the batch or on how many other samples are drawn. Its log-probability is the model's, EOS
counted.

Without sampling parameters the likeliest token is taken: this is greedy search.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.logits import is_end
from tfx_jax.decoding.loop import NO_TOKEN, Cache, Step, run_steps
from tfx_jax.decoding.rules import Rules, apply_rules
from tfx_jax.decoding.top_k import top_k
from tfx_jax.decoding.truncation import Truncation, truncate


@struct.dataclass
class Sampling:
  """Sampling parameters: all that the draws depend on.

  Attributes:
    seed: uint32 scalar.
    number: int32 [B], number of each row's input.
    truncation: restricts the tokens that may be drawn.
  """

  seed: jax.Array
  number: jax.Array
  truncation: Truncation


@struct.dataclass
class SampleSettings:
  """Settings of sampling. They are traced: other numbers compile no other program.

  Attributes:
    rules: constraints on the next token.
    sampling: sampling parameters; None for greedy search.
  """

  rules: Rules
  sampling: Sampling | None = None


@struct.dataclass
class SampleState:
  """Progress of sampling after `length` tokens.

  Attributes:
    length: int32 scalar.
    tokens: int32 [B,W,T]; `NO_TOKEN` after EOS.
    log_probs: [B,W,T], log-probability of each token by the model; zeros after EOS.
    log_prob: [B,W], the sum of them.
    ended: bool [B,W], true for samples that have their EOS or were cut.
    finished: bool [B], rows whose samples have all ended.

  The last and `log_prob` follow from others. They are stored for the host, which would need another
  program to compute them.
  """

  length: jax.Array
  tokens: jax.Array
  log_probs: jax.Array
  log_prob: jax.Array
  ended: jax.Array
  finished: jax.Array

  @property
  def capacity(self) -> int:
    """Most tokens of an output, T."""
    return self.tokens.shape[2]

  @property
  def last_elements(self) -> jax.Array:
    """Newest token of each sample, int32 [B,W]."""
    # [B,W,T] -> [B,W]
    return jax.lax.dynamic_index_in_dim(self.tokens, self.length - 1, 2, keepdims=False)

  @property
  def parents(self) -> jax.Array:
    """Sample of the previous step that each one continues, int32 [B,W]: itself."""
    return jax.lax.broadcasted_iota(jnp.int32, self.ended.shape, 1)


def begin(
  logits: jax.Array, settings: SampleSettings, active: jax.Array, *, width: int, capacity: int
) -> SampleState:
  """Starts sampling and draws the first token of each sample.

  Args:
    logits: [B,V], of the first token to generate.
    settings: see `SampleSettings`.
    active: bool [B]; false for rows that only fill the batch, which are finished at once.
    width: W, samples of each row.
    capacity: T, at least the greatest `max_length`.
  """
  rows, vocab = logits.shape
  state = SampleState(
    length=jnp.zeros((), jnp.int32),
    tokens=jnp.full((rows, width, capacity), NO_TOKEN, jnp.int32),  # [B,W,T]
    log_probs=jnp.zeros((rows, width, capacity)),
    log_prob=jnp.zeros((rows, width)),
    ended=jnp.broadcast_to(~active[:, None], (rows, width)),  # [B] -> [B,W]
    finished=~active,
  )
  logits = jnp.broadcast_to(logits[:, None], (rows, width, vocab))  # [B,V] -> [B,W,V]
  return expand(state, logits, settings)


def advance(
  step: Step,
  state: SampleState,
  cache: Cache,
  settings: SampleSettings,
  steps: jax.Array | int,
) -> tuple[SampleState, Cache]:
  """Adds at most `steps` tokens; stops before if every row is finished. See `loop.run_steps`."""

  def add_token(state: SampleState, logits: jax.Array, _: Cache) -> SampleState:
    return expand(state, logits, settings)

  return run_steps(add_token, step, state, cache, steps)


def expand(state: SampleState, logits: jax.Array, settings: SampleSettings) -> SampleState:
  """Chooses the next token of every sample that has not ended, given the logits [B,W,V]."""
  rows, width, vocab = logits.shape
  log_probs, ruled = apply_rules(settings.rules, logits, state.tokens, state.length)  # each [B,W,V]
  if settings.sampling is None:
    # The argmax; `top_k` searches only a part of a large vocabulary. [B,W,V] -> [B*W,V] -> [B*W,1]
    _, token = top_k(ruled.reshape(rows * width, vocab), 1)
    token = token.reshape(rows, width)  # [B*W,1] -> [B,W]
  else:
    keys = _keys(settings.sampling, state)  # [B,W]
    token = _draw(keys, truncate(settings.sampling.truncation, ruled))  # [B,W,V] -> [B,W]
  # The model's log-probability, so that it does not depend on rules or truncation.
  log_prob = jnp.take_along_axis(log_probs, token[..., None], axis=2)[..., 0]  # [B,W,V] -> [B,W]
  # Samples that have ended stay as they are while others of the batch continue.
  token = jnp.where(state.ended, NO_TOKEN, token)

  def write(old: jax.Array, new: jax.Array) -> jax.Array:
    # [B,W] -> [B,W,1], written into [B,W,T] at place `length`.
    return jax.lax.dynamic_update_slice_in_dim(old, new[..., None], state.length, axis=2)

  log_prob = jnp.where(state.ended, 0.0, log_prob)
  ended = state.ended | is_end(token, settings.rules.eos)
  return SampleState(
    length=state.length + 1,
    tokens=write(state.tokens, token),
    log_probs=write(state.log_probs, log_prob),
    log_prob=state.log_prob + log_prob,
    ended=ended,
    finished=ended.all(axis=1),  # [B,W] -> [B]
  )


def cut(state: SampleState, keep: jax.Array) -> SampleState:
  """Ends each sample after its first `keep` tokens, int32 [B,W]; T leaves it as it is."""
  beyond = jnp.arange(state.capacity)[None, None] >= keep[..., None]  # [1,1,T], [B,W,1] -> [B,W,T]
  log_probs = jnp.where(beyond, 0.0, state.log_probs)
  ended = state.ended | (keep < state.capacity)
  return dataclasses.replace(
    state,
    tokens=jnp.where(beyond, NO_TOKEN, state.tokens),
    log_probs=log_probs,
    log_prob=log_probs.sum(axis=2),  # [B,W,T] -> [B,W]
    ended=ended,
    finished=ended.all(axis=1),  # [B,W] -> [B]
  )


def _keys(sampling: Sampling, state: SampleState) -> jax.Array:
  """Random keys [B,W] for the tokens of this step."""
  seed = jax.random.key(sampling.seed)

  # Of these numbers alone: the batch, W and the number of calls must not change a sample.
  def key(number: jax.Array, sample: jax.Array) -> jax.Array:
    return functools.reduce(jax.random.fold_in, (number, sample, state.length), seed)

  of_row = jax.vmap(key, (None, 0))  # number [], sample [W] -> [W]
  return jax.vmap(of_row, (0, None))(sampling.number, jnp.arange(state.ended.shape[1]))  # -> [B,W]


def _draw(keys: jax.Array, logits: jax.Array) -> jax.Array:
  """Draws one token from each distribution: keys [B,W], logits [B,W,V] -> int32 [B,W]."""
  return jax.vmap(jax.vmap(jax.random.categorical))(keys, logits)

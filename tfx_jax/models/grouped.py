"""An encoder-decoder whose decoder stack reads and predicts groups of tokens.

From outside it is an encoder-decoder of tokens: batches, searches and likelihoods are the same. See
`layers/group.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from tfx_jax.errors import UserError
from tfx_jax.layers.cache import Cache
from tfx_jax.models.encoder_decoder import EncoderDecoder
from tfx_jax.models.model import Batch, Output, Prompt


class GroupCache(struct.PyTreeNode):
  """Decoding state of a grouped model.

  Attributes:
    stack: cache of the decoder stack; a step of it is a group.
    state: [B,W,D], state of the group that is predicted now.
    tokens: int32 [B,W,J], its tokens so far; 0 behind them.
    count: int32 scalar, number of tokens that were decoded, the same for all rows.
  """

  stack: Cache
  state: jax.Array
  tokens: jax.Array
  count: jax.Array

  def grow(self, length: int) -> "GroupCache":
    """Extends the capacity to `length` tokens in all."""
    return self.replace(stack=self.stack.grow(_groups(length, self.tokens.shape[2])))


class _Groups(NamedTuple):
  """A batch of targets as groups, [B,P,J].

  Attributes:
    before: decoder inputs of each position: the group before it, or BOS in the last place.
    own: tokens of the group itself; the last one is never read.
    segments: int32 [B,P].
    positions: int32 [B,P].
  """

  before: jax.Array
  own: jax.Array
  segments: jax.Array
  positions: jax.Array


class Grouped(EncoderDecoder):
  """An encoder-decoder of J tokens a position; targets start at multiples of J in their rows.

  `embed_target` embeds groups, [B,P,J] -> [B,P,D], and the head reads F features.

  Attributes:
    group_size: J.
    group_states: makes the layer from the state of a group and its tokens to a state for each,
      [B,P,D], [B,P,J] -> [B,P,J,F].
  """

  group_size: int = 1
  group_states: Callable[[], nn.Module] | None = None

  def setup(self):
    super().setup()
    assert self.group_states is not None
    self.within = self.group_states()

  def __call__(self, batch: Batch, memory: jax.Array | None = None) -> jax.Array:
    """Returns hidden states of all tokens, [B,T,F]."""
    memory = self.encode(batch) if memory is None else memory
    groups = self._grouped(batch)
    context = self._context(groups.segments, groups.positions, batch)
    state, _ = self.decoder_stack(
      self._embed_target(groups.before, groups.positions), context, memory
    )
    hidden = self.within(state, groups.own)  # [B,P,D] -> [B,P,J,F]
    rows, length = batch["decoder_inputs"].shape
    hidden = hidden.reshape(rows, -1, hidden.shape[-1])[:, :length]  # [B,P,J,F] -> [B,T,F]
    if self.is_initializing():
      self.logits(hidden[:, :1])
    return hidden

  def attention(self, batch: Batch, layer: int) -> jax.Array:
    """Raises UserError: a position has several tokens."""
    raise UserError("model.group_size: alignments need groups of 1 token")

  def prefill(
    self, prompt: Prompt, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[Output, GroupCache]:
    """Encodes sources once, and allocates a cache for `length` tokens of `width` beams."""
    memory = self.encode(prompt)
    rows, size = prompt["prompt"].shape[0], self.group_size
    # [B,1] -> [B,1,J]: BOS is in the last place.
    before = jnp.pad(prompt["prompt"][:, -1:], ((0, 0), (size - 1, 0)))[:, None]
    segments, positions = prompt["prompt_segments"][:, -1:], jnp.zeros((rows, 1), jnp.int32)
    context = self._context(segments, positions, prompt)
    x = self._embed_target(before, positions)
    state, layers = self.decoder_stack(x, context, memory, keep=True)
    memory_segments = (prompt["inputs_segments"] > 0).astype(jnp.int32)
    stack = Cache.create(layers, memory_segments, segments > 0, _groups(length, size), width)
    tokens = jnp.zeros((rows, width, size), jnp.int32)
    state = jnp.broadcast_to(state, (rows, width, state.shape[2]))  # [B,1,D] -> [B,W,D]
    output = self.logits(self.within(state, tokens)[:, :1, 0])  # [B,W,J,F] -> [B,1,F] -> [B,1,V]
    output = jax.tree.map(lambda x: x[:, 0], output)  # [B,1,V] -> [B,V]
    return output, GroupCache(stack, state, tokens, jnp.zeros((), jnp.int32))

  def decode(
    self, elements: jax.Array, parents: jax.Array, cache: GroupCache
  ) -> tuple[Output, GroupCache]:
    """Decodes one step: tokens `elements` [B,W] continue beams `parents` [B,W]."""
    place = cache.count % self.group_size
    tokens = jnp.take_along_axis(cache.tokens, parents[:, :, None], axis=1)
    here = jax.lax.broadcasted_iota(jnp.int32, tokens.shape, 2) == place
    tokens = jnp.where(here, elements[:, :, None], tokens)
    is_full = place == self.group_size - 1
    state, stack = jax.lax.cond(
      is_full, self._next_group, _same_group, parents, tokens, cache.state, cache.stack
    )
    tokens = jnp.where(is_full, 0, tokens)
    hidden = self.within(state, tokens)  # [B,W,D] -> [B,W,J,F]
    hidden = jax.lax.dynamic_index_in_dim(
      hidden, (place + 1) % self.group_size, axis=2, keepdims=False
    )  # [B,W,J,F] -> [B,W,F]
    return self.logits(hidden), GroupCache(stack, state, tokens, cache.count + 1)

  def _next_group(
    self, parents: jax.Array, tokens: jax.Array, state: jax.Array, stack: Cache
  ) -> tuple[jax.Array, Cache]:
    """Runs the stack on a group that is complete."""
    hidden, _, stack = self._decode_stack(tokens, parents, stack)
    return hidden.astype(state.dtype), stack

  def _grouped(self, batch: Batch) -> _Groups:
    """Returns the targets of a batch as groups."""
    size, inputs = self.group_size, batch["decoder_inputs"]
    end = -inputs.shape[1] % size

    def cut(x: jax.Array, left: int, right: int) -> jax.Array:
      """Shifts x [B,T] to the right by `left` places, to the left by `right`: [B,T] -> [B,P,J]."""
      x = jnp.pad(x[:, right:], ((0, 0), (left, end + right)))
      x = x[:, : inputs.shape[1] + end]
      return x.reshape(x.shape[0], -1, size)

    positions = cut(batch["targets_positions"], 0, 0)[:, :, :1]  # [B,P,1]
    before = cut(inputs, size - 1, 0)
    # Places in front of BOS belong to another target, or to none.
    place = jax.lax.broadcasted_iota(jnp.int32, before.shape, 2)
    before = jnp.where(positions + place >= size - 1, before, 0)
    segments = cut(batch["targets_segments"], 0, 0)[:, :, 0]
    return _Groups(before, cut(inputs, 0, 1), segments, positions[:, :, 0] // size)


def _same_group(
  parents: jax.Array, tokens: jax.Array, state: jax.Array, stack: Cache
) -> tuple[jax.Array, Cache]:
  """Lets beams continue their parents, within a group."""
  del tokens
  state = jnp.take_along_axis(state, parents[:, :, None], axis=1)
  return state, stack.branch(parents)


def _groups(tokens: int, size: int) -> int:
  """Returns the number of groups that a number of tokens needs."""
  return -(-tokens // size)

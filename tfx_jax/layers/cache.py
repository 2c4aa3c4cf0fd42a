"""The decoding cache: keys and values of what has been read and written so far.

A row of the batch has one prompt and W beams. Keys and values of the prompt and of the memory
(encoder states) are stored once per row, shared by its beams, which are W queries. Those of
generated tokens are appended: slot (t, w) holds what beam w wrote at step t, and `ancestors[b, w,
t]` is the slot of step t that the current beam w descends from. So reordering beams moves a small
table of integers and never the cache; attention reads all slots of a row under the ancestry mask.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.common.tree import Tree


class KeyValues(struct.PyTreeNode):
  """Keys and values of one attention, laid out as its products read them, without a copy.

  Attributes:
    keys: [B,K,H,S].
    values: [B,K,S,H].
  """

  keys: jax.Array
  values: jax.Array

  def write(self, new: "KeyValues", slot: jax.Array) -> "KeyValues":
    """Writes W keys and values at slots slot … slot+W-1."""

    def update(old: jax.Array, x: jax.Array, axis: int) -> jax.Array:
      return jax.lax.dynamic_update_slice_in_dim(old, x.astype(old.dtype), slot, axis)

    return KeyValues(update(self.keys, new.keys, 3), update(self.values, new.values, 2))

  def append_empty(self, slots: int) -> "KeyValues":
    """Appends `slots` of zeros: [B,K,H,S] -> [B,K,H,S+slots], and likewise the values."""
    none, after = (0, 0), (0, slots)
    return KeyValues(
      jnp.pad(self.keys, (none, none, none, after)), jnp.pad(self.values, (none, none, after, none))
    )


class LayerCache(struct.PyTreeNode):
  """Cache of one layer.

  Attributes:
    self_kv: keys and values of self-attention.
    memory_kv: keys and values of cross-attention, or None.
    attended: cross-attention weights: [B,T,S] of a whole sequence, or while decoding, their sum
      over all tokens of each beam [B,W,S]. None where they are not asked for.
  """

  self_kv: KeyValues
  memory_kv: KeyValues | None = None
  attended: jax.Array | None = None

  def begin(self, prompt: jax.Array, slots: int, width: int) -> "LayerCache":
    """Adds empty `slots` after a prompt, whose tokens are real where `prompt` [B,P] is true."""
    attended = self.attended
    if attended is not None:
      attended = jnp.einsum("bps,bp->bs", attended, prompt.astype(attended.dtype))
      attended = jnp.repeat(attended[:, None], width, axis=1)  # [B,S] -> [B,W,S]
    return self.replace(self_kv=self.self_kv.append_empty(slots), attended=attended)

  def reorder(self, parents: jax.Array) -> "LayerCache":
    """Gives each beam the sum of weights of its parent, `parents` [B,W]."""
    if self.attended is None:
      return self
    return self.replace(attended=jnp.take_along_axis(self.attended, parents[:, :, None], axis=1))


class CopyMemory(struct.PyTreeNode):
  """Projection of the source that a copy head reads: computed once per row, shared by its beams.

  Attributes:
    keys: [B,S,D].
    gate: float32 [B,S], each source position's part in the gate's logit.
    tokens: int32 [B,S].
  """

  keys: jax.Array
  gate: jax.Array
  tokens: jax.Array


class Cache(struct.PyTreeNode):
  """Decoding state of all layers of a decoder.

  A layer's self-attention has P prompt slots and then `length * width` generated ones, step by
  step. P, length and width are the shapes of `prompt` and `ancestors`.

  Attributes:
    layers: cache of each layer: P+length*W keys and values of self-attention and S of the memory;
      at most one has `attended`.
    memory_segments: [B,S], 1 where the memory is real, else 0; None without a memory.
    prompt: bool [B,P], true where the prompt is real (prompts are padded on the left).
    ancestors: int32 [B,W,length].
    index: int32 scalar, number of generated steps in the cache, the same for all rows.
    positions: int32 [B], position of the next token of each row.
    copied: memory of a copy head, or None.
    patches: int32 [B], number of patches of a picture that each row has read, or None.
  """

  layers: tuple[LayerCache, ...]
  memory_segments: jax.Array | None
  prompt: jax.Array
  ancestors: jax.Array
  index: jax.Array
  positions: jax.Array
  copied: CopyMemory | None = None
  patches: jax.Array | None = None

  @classmethod
  def create(
    cls,
    layers: Sequence[LayerCache],
    memory_segments: jax.Array | None,
    prompt: jax.Array,
    length: int,
    width: int,
    copied: CopyMemory | None = None,
  ) -> "Cache":
    """Returns a cache with capacity for `length` steps of `width` beams after a prompt of P."""
    rows = prompt.shape[0]
    return cls(
      layers=tuple(layer.begin(prompt, length * width, width) for layer in layers),
      memory_segments=memory_segments,
      prompt=prompt,
      ancestors=jnp.zeros((rows, width, length), jnp.int32),
      index=jnp.zeros((), jnp.int32),
      positions=prompt.sum(axis=1, dtype=jnp.int32),
      copied=copied,
    )

  def grow(self, length: int) -> "Cache":
    """Extends the capacity to `length` steps in all."""
    more = length - self.ancestors.shape[2]
    layers = (
      layer.replace(self_kv=layer.self_kv.append_empty(more * self.width)) for layer in self.layers
    )
    # [B,W,old length] -> [B,W,length]
    ancestors = jnp.pad(self.ancestors, ((0, 0), (0, 0), (0, more)))
    return self.replace(layers=tuple(layers), ancestors=ancestors)

  @property
  def width(self) -> int:
    """Number of beams per row, W."""
    return self.ancestors.shape[1]

  def coverage(self) -> jax.Array:
    """Returns the attention that each memory position got from all tokens of a beam, [B,W,S].

    The next token's counts too: its query is the last token that was read. One layer must have been
    asked for its weights.
    """
    (attended,) = (layer.attended for layer in self.layers if layer.attended is not None)
    return attended

  @property
  def slot(self) -> jax.Array:
    """Slot where the current step's W keys and values begin, a scalar."""
    return self.prompt.shape[1] + self.index * self.width

  def reorder(self, parents: jax.Array) -> "Cache":
    """Makes each beam of the current step descend from beam `parents` [B,W] of the step before."""
    cache = self.branch(parents)
    # A beam descends from itself at the current step: [B,W,1].
    itself = jax.lax.broadcasted_iota(jnp.int32, (*parents.shape, 1), 1)
    ancestors = jax.lax.dynamic_update_slice_in_dim(cache.ancestors, itself, self.index, axis=2)
    return cache.replace(ancestors=ancestors)

  def branch(self, parents: jax.Array) -> "Cache":
    """Gives each beam the steps of beam `parents` [B,W]; none of them is the current step."""
    ancestors = jnp.take_along_axis(self.ancestors, parents[:, :, None], axis=1)
    layers = tuple(layer.reorder(parents) for layer in self.layers)
    return self.replace(ancestors=ancestors, layers=layers)

  def mask(self, window: int | None = None) -> jax.Array:
    """Returns which slots the current step's beams may see: bool [B,W,P+length*W].

    With a `window`, only those of the latest `window` tokens, the current one included.
    """
    rows, width, length = self.ancestors.shape
    slots = (rows, width, length, width)
    # [B,W,length,1] == [B,W,length,W]: the slot of each step that the beam descends from.
    generated = self.ancestors[..., None] == jax.lax.broadcasted_iota(jnp.int32, slots, 3)
    generated &= jax.lax.broadcasted_iota(jnp.int32, slots, 2) <= self.index
    generated = generated.reshape(rows, width, length * width)
    # [B,P] -> [B,W,P]
    prompt = jnp.broadcast_to(self.prompt[:, None, :], (rows, width, self.prompt.shape[1]))
    visible = jnp.concatenate([prompt, generated], axis=-1)
    if window is None:
      return visible
    return visible & (self.key_index() > self.query_index() - window)[None, None]

  def key_index(self) -> jax.Array:
    """Row index of every slot, int32 [P+length*W]; relative positions are differences of these."""
    prompt, length = self.prompt.shape[1], self.ancestors.shape[2]
    generated = jnp.repeat(jnp.arange(length), self.width)
    return jnp.concatenate([jnp.arange(prompt), prompt + generated])

  def query_index(self) -> jax.Array:
    """Row index of the current step, int32 [1]."""
    return (self.prompt.shape[1] + self.index)[None]

  def step(self, layers: Sequence[LayerCache]) -> "Cache":
    """Advances to the next step, with the layers' caches as this step left them."""
    return self.replace(layers=tuple(layers), index=self.index + 1, positions=self.positions + 1)


def grow(caches: Tree, length: int) -> Tree:
  """Extends the capacity of a `Cache`, or of each in a tree of them, to `length` steps in all."""
  return jax.tree.map(lambda cache: cache.grow(length), caches, is_leaf=_is_cache)


def coverage(caches: Tree) -> jax.Array:
  """Coverage [B,W,S] of a `Cache`, or its mean over a tree of them (an ensemble's members)."""
  each = [cache.coverage() for cache in jax.tree.leaves(caches, is_leaf=_is_cache)]
  return functools.reduce(jnp.add, each) / len(each)


def _is_cache(x: object) -> bool:
  return hasattr(x, "grow")

"""Keys and values of what has been read and written so far; the only file that knows their layout.

A row of the batch has one prompt and W beams. Prompt and memory (encoder states) are stored once
per row, for all beams are just W queries over them. The generated part is append-only: slot (t, w)
holds what beam w wrote at step t, and `ancestors[b, w, t]` says which slot of step t the present
beam w descends from. Reordering beams therefore moves a small table of integers and never the
cache; attention sees all slots of a row under the ancestry mask.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class KeyValues:
  """Keys [B,K,H,S] and values [B,K,S,H] of one attention: as its products read them, not a copy."""

  keys: jax.Array
  values: jax.Array

  def write(self, new: "KeyValues", slot: jax.Array) -> "KeyValues":
    """Writes the keys and values of `new`, W of them, at slot … slot+W-1."""

    def update(old: jax.Array, x: jax.Array, axis: int) -> jax.Array:
      return jax.lax.dynamic_update_slice_in_dim(old, x.astype(old.dtype), slot, axis)

    return KeyValues(update(self.keys, new.keys, 3), update(self.values, new.values, 2))

  def grow(self, slots: int) -> "KeyValues":
    """Appends empty `slots`."""
    none, more = (0, 0), (0, slots)
    return KeyValues(
      jnp.pad(self.keys, (none, none, none, more)), jnp.pad(self.values, (none, none, more, none))
    )


@struct.dataclass
class LayerCache:
  """Of one layer: its own keys and values, and those of the memory it reads, if it reads one.

  A layer may keep, too, its weights on the memory: [B,T,S] of a whole sequence, and while decoding
  their sum over all tokens of each beam [B,W,S]. Keeping them is asking for them.
  """

  own: KeyValues
  memory: KeyValues | None = None
  attended: jax.Array | None = None

  def begin(self, prompt: jax.Array, slots: int, width: int) -> "LayerCache":
    """Makes room for `slots` after a prompt that is real where `prompt` [B,P] is true."""
    attended = self.attended
    if attended is not None:
      attended = jnp.einsum("bps,bp->bs", attended, prompt.astype(attended.dtype))
      attended = jnp.repeat(attended[:, None], width, axis=1)
    return self.replace(own=self.own.grow(slots), attended=attended)

  def reorder(self, parents: jax.Array) -> "LayerCache":
    """Lets each beam go on with the sum of beam `parents` [B,W]."""
    if self.attended is None:
      return self
    return self.replace(attended=jnp.take_along_axis(self.attended, parents[:, :, None], axis=1))


@struct.dataclass
class CopyMemory:
  """What a copy head reads of the source: made once, the same for all beams of a row.

  Attributes:
    keys: [B,S,D].
    gate: float32 [B,S], what pointing there adds to the gate.
    tokens: int32 [B,S].
  """

  keys: jax.Array
  gate: jax.Array
  tokens: jax.Array


@struct.dataclass
class Cache:
  """State of decoding for all layers of a decoder.

  A layer's own keys and values have P prompt slots, then `length * width` generated ones, step by
  step. P, length and width are read off `prompt` and `ancestors`.

  Attributes:
    layers: of each layer, its own P+length*W keys and values and the memory's S; at most one keeps
      what it has attended to.
    memory_segments: [B,S], 1 where the memory is real, else 0; None without one.
    prompt: bool [B,P], true where the prompt is real (prompts are padded on the left).
    ancestors: int32 [B,W,length].
    index: int32 scalar, generated steps written so far, one for the whole batch.
    positions: int32 [B], the position of the next token of each row.
    copied: what is copied from, or None.
  """

  layers: tuple[LayerCache, ...]
  memory_segments: jax.Array | None
  prompt: jax.Array
  ancestors: jax.Array
  index: jax.Array
  positions: jax.Array
  copied: CopyMemory | None = None

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
    """Makes room for `length` steps of `width` beams after a prompt's P keys and values."""
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
    """Makes room for `length` steps in all, where there was room for fewer."""
    more = length - self.ancestors.shape[2]
    layers = (layer.replace(own=layer.own.grow(more * self.width)) for layer in self.layers)
    ancestors = jnp.pad(self.ancestors, ((0, 0), (0, 0), (0, more)))
    return self.replace(layers=tuple(layers), ancestors=ancestors)

  @property
  def width(self) -> int:
    """Beams per row."""
    return self.ancestors.shape[1]

  @property
  def coverage(self) -> jax.Array:
    """Attention that each beam's tokens, the next one's included, gave each position: [B,W,S]."""
    (attended,) = (layer.attended for layer in self.layers if layer.attended is not None)
    return attended

  @property
  def slot(self) -> jax.Array:
    """Where the present step's W keys and values are written, a scalar."""
    return self.prompt.shape[1] + self.index * self.width

  def reorder(self, parents: jax.Array) -> "Cache":
    """Lets each beam of the present step descend from beam `parents` [B,W] of the one before."""
    ancestors = jnp.take_along_axis(self.ancestors, parents[:, :, None], axis=1)
    own = jax.lax.broadcasted_iota(jnp.int32, (*parents.shape, 1), 1)
    ancestors = jax.lax.dynamic_update_slice_in_dim(ancestors, own, self.index, axis=2)
    layers = tuple(layer.reorder(parents) for layer in self.layers)
    return self.replace(ancestors=ancestors, layers=layers)

  def mask(self, window: int | None = None) -> jax.Array:
    """Which slots the present step's beams may see: bool [B,W,P+length*W].

    With a `window`, none but those of the latest so many tokens, the present one counted.
    """
    rows, width, length = self.ancestors.shape
    slots = (rows, width, length, width)
    own = self.ancestors[..., None] == jax.lax.broadcasted_iota(jnp.int32, slots, 3)
    own &= jax.lax.broadcasted_iota(jnp.int32, slots, 2) <= self.index
    prompt = jnp.broadcast_to(self.prompt[:, None, :], (rows, width, self.prompt.shape[1]))
    seen = jnp.concatenate([prompt, own.reshape(rows, width, length * width)], axis=-1)
    if window is None:
      return seen
    return seen & (self.key_index() > self.query_index() - window)[None, None]

  def key_index(self) -> jax.Array:
    """Row index of every slot, int32 [P+length*W]; differences of these feed relative positions."""
    prompt, length = self.prompt.shape[1], self.ancestors.shape[2]
    generated = jnp.repeat(jnp.arange(length), self.width)
    return jnp.concatenate([jnp.arange(prompt), prompt + generated])

  def query_index(self) -> jax.Array:
    """Row index of the present step, int32 [1]."""
    return (self.prompt.shape[1] + self.index)[None]

  def step(self, layers: Sequence[LayerCache]) -> "Cache":
    """Moves on to the next step, with what the layers wrote at this one."""
    return self.replace(layers=tuple(layers), index=self.index + 1, positions=self.positions + 1)

"""One Transformer layer: self-attention, cross-attention if asked for, feed-forward."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from flax import struct

from tfx_jax.layers import axes
from tfx_jax.layers.cache import KeyValues, LayerCache
from tfx_jax.layers.dropout import Dropout
from tfx_jax.layers.mask import Mask

NORM_PLACEMENTS = ("pre", "post", "sandwich")


@struct.dataclass
class Context:
  """What all layers of a stack share.

  Attributes:
    positions: int32 [B,T], for rotary positions.
    mask: of self-attention.
    memory_mask: of cross-attention, or None.
    bias: of self-attention's scores, [1,N,T,S] or [1,1,T,S], or None.
    slot: where a step of decoding writes its keys and values, or None.
  """

  positions: jax.Array
  mask: Mask | jax.Array
  memory_mask: Mask | jax.Array | None = None
  bias: jax.Array | None = None
  slot: jax.Array | None = None


class Block(nn.Module):
  """A layer [B,T,D] -> [B,T,D], its sublayers wrapped by norm, dropout and residual.

  Attributes:
    attention: makes the self-attention.
    feed_forward: makes the feed-forward layer.
    norm: makes a norm.
    cross_attention: makes the cross-attention, or None.
    norm_placement: "pre" (x + f(norm x)), "post" (norm(x + f x)) or "sandwich"
      (x + norm f(norm x)).
    dropout_rate: of what a sublayer adds.
  """

  attention: Callable[[], nn.Module]
  feed_forward: Callable[[], nn.Module]
  norm: Callable[[], nn.Module]
  cross_attention: Callable[[], nn.Module] | None = None
  norm_placement: str = "pre"
  dropout_rate: float = 0.0

  def setup(self):
    self.self_attention = self.attention()
    self.attention_residual = self._residual()
    if self.cross_attention is not None:
      self.memory_attention = self.cross_attention()
      self.memory_residual = self._residual()
    self.mlp = self.feed_forward()
    self.mlp_residual = self._residual()

  def __call__(
    self,
    x: jax.Array,
    context: Context,
    memory: jax.Array | None = None,
    cache: LayerCache | None = None,
    keep_attended: bool = False,
  ) -> tuple[jax.Array, LayerCache]:
    """Runs the layer on a whole sequence, or, given a cache, on one step of decoding.

    Args:
      x: [B,T,D].
      context: see `Context`.
      memory: [B,S,D], what cross-attention reads; not looked at if there is a cache.
      cache: this layer's keys and values of the steps before. If it keeps what has been attended
        to, this step's weights are added to that.
      keep_attended: whether a whole sequence's weights on the memory are kept.

    Returns:
      the output [B,T,D], and the keys and values of the sequence or, with this step, of the cache.
    """
    if cache is not None:
      keep_attended = cache.attended is not None

    def self_attention(x: jax.Array) -> tuple[jax.Array, KeyValues]:
      query, own = self.self_attention.project(x, context.positions)
      if cache is not None:
        own = cache.own.write(own, context.slot)
      return self.self_attention.attend(query, own, context.mask, context.bias)[0], own

    def memory_attention(x: jax.Array) -> tuple[jax.Array, tuple[KeyValues, jax.Array | None]]:
      attention = self.memory_attention
      read = attention.project_memory(memory) if cache is None else cache.memory
      query = attention.project_query(x)
      y, weights = attention.attend(query, read, context.memory_mask, with_weights=keep_attended)
      return y, (read, weights)

    x, own = self.attention_residual(x, self_attention)
    read = weights = None
    if self.cross_attention is not None:
      x, (read, weights) = self.memory_residual(x, memory_attention)
    x, _ = self.mlp_residual(x, lambda x: (self.mlp(x), None))
    if cache is not None and keep_attended:
      weights = cache.attended + weights
    return x, LayerCache(own=own, memory=read, attended=weights)

  def _residual(self) -> "_Residual":
    return _Residual(self.norm, self.norm_placement, self.dropout_rate)


class _Residual(nn.Module):
  """Norm, dropout and residual around a sublayer that returns (output, anything)."""

  norm: Callable[[], nn.Module]
  placement: str
  dropout_rate: float

  def setup(self):
    self.norms = [self.norm() for _ in range(2 if self.placement == "sandwich" else 1)]
    self.dropout = Dropout(self.dropout_rate)

  def __call__(self, x: jax.Array, sublayer: Callable) -> tuple[jax.Array, Any]:
    y, kept = sublayer(x if self.placement == "post" else self.norms[0](x))
    if self.placement == "sandwich":
      y = self.norms[1](y)
    y = x + self.dropout(y)
    if self.placement == "post":
      y = self.norms[0](y)
    return axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_EMBED), kept

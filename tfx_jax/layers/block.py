"""One Transformer layer: self-attention, optional cross-attention, feed-forward."""

from collections.abc import Callable

import jax
from flax import linen as nn
from flax import struct

from tfx_jax.common.tree import Tree
from tfx_jax.layers import axes
from tfx_jax.layers.cache import KeyValues, LayerCache
from tfx_jax.layers.dropout import Dropout
from tfx_jax.layers.mask import Mask

NORM_PLACEMENTS = ("pre", "post", "sandwich")


class Context(struct.PyTreeNode):
  """Inputs that all layers of a stack share.

  Attributes:
    positions: int32 [B,T], for rotary positions.
    mask: mask of self-attention.
    memory_mask: mask of cross-attention, or None.
    bias: bias of self-attention's scores, [1,N,T,S] or [1,1,T,S], or None.
    slot: index of the cache slot where a decode step writes its keys and values, or None.
  """

  positions: jax.Array
  mask: Mask | jax.Array
  memory_mask: Mask | jax.Array | None = None
  bias: jax.Array | None = None
  slot: jax.Array | None = None


class Block(nn.Module):
  """A layer [B,T,D] -> [B,T,D]; each sublayer is wrapped by norm, dropout and residual.

  Attributes:
    attention: makes the self-attention.
    feed_forward: makes the feed-forward layer.
    norm: makes a norm.
    cross_attention: makes the cross-attention, or None.
    norm_placement: "pre" (x + f(norm x)), "post" (norm(x + f x)) or "sandwich"
      (x + norm f(norm x)).
    dropout_rate: dropout rate of a sublayer's output.
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
    """Runs the layer on a whole sequence or, given a cache, on one decode step.

    Args:
      x: [B,T,D].
      context: see `Context`.
      memory: [B,S,D], read by cross-attention; not used if there is a cache.
      cache: this layer's keys and values of earlier steps. If it holds the sum of their
        cross-attention weights, this step's are added.
      keep_attended: whether to return a whole sequence's cross-attention weights.

    Returns:
      the output [B,T,D], and the keys and values of the sequence, or the cache with this step's.
    """
    if cache is not None:
      keep_attended = cache.attended is not None

    # A sublayer returns its output and the keys and values to cache; `_Residual` wraps the output.
    def attend_self(x: jax.Array) -> tuple[jax.Array, KeyValues]:
      query, key_values = self.self_attention.project(x, context.positions)
      if cache is not None and context.slot is not None:
        key_values = cache.self_kv.write(key_values, context.slot)
      y, _ = self.self_attention.attend(query, key_values, context.mask, context.bias)
      return y, key_values

    def attend_memory(x: jax.Array) -> tuple[jax.Array, tuple[Tree, jax.Array | None]]:
      attention = self.memory_attention
      key_values = attention.project_memory(memory) if cache is None else cache.memory_kv
      y, weights = attention.attend(
        attention.project_query(x), key_values, context.memory_mask, with_weights=keep_attended
      )
      return y, (key_values, weights)

    def feed_forward(x: jax.Array) -> tuple[jax.Array, None]:
      return self.mlp(x), None

    x, self_kv = self.attention_residual(x, attend_self)
    memory_kv = weights = None
    if self.cross_attention is not None:
      x, (memory_kv, weights) = self.memory_residual(x, attend_memory)
    x, _ = self.mlp_residual(x, feed_forward)
    if cache is not None and cache.attended is not None and weights is not None:
      weights = cache.attended + weights
    return x, LayerCache(self_kv, memory_kv, weights)

  def _residual(self) -> "_Residual":
    return _Residual(self.norm, self.norm_placement, self.dropout_rate)


class _Residual(nn.Module):
  """Wraps a sublayer x -> (y, extra): the result is x + dropout(y), normed as `placement` says."""

  norm: Callable[[], nn.Module]
  placement: str
  dropout_rate: float

  def setup(self):
    self.norms = [self.norm() for _ in range(2 if self.placement == "sandwich" else 1)]
    self.dropout = Dropout(self.dropout_rate)

  def __call__(self, x: jax.Array, sublayer: Callable) -> tuple[jax.Array, Tree]:
    y, extra = sublayer(x if self.placement == "post" else self.norms[0](x))
    if self.placement == "sandwich":
      y = self.norms[1](y)
    y = x + self.dropout(y)
    if self.placement == "post":
      y = self.norms[0](y)
    return axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_EMBED), extra

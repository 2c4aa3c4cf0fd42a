"""Attention of any number of query heads over as many or fewer key/value heads."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes, dot_product
from tfx_jax.layers.cache import KeyValues
from tfx_jax.layers.dropout import dropout_key
from tfx_jax.layers.linear import add, kernel_init, product
from tfx_jax.layers.mask import Mask
from tfx_jax.layers.position import RotaryScaling, rotate


class Attention(nn.Module):
  """Scaled dot-product attention (Vaswani et al. 2017, 3.2; grouped: arXiv:2305.13245).

  Query head n reads key/value head n // (N/K). Projections are separate parameters and one product
  where the input is shared.

  Attributes:
    features: D.
    num_heads: N.
    num_kv_heads: K, a divisor of N.
    head_dim: H.
    use_bias: whether the four projections have biases.
    qkv_bias: whether queries, keys and values have them in any case, as in Qwen2.
    scaled: whether scores are divided by sqrt(H); T5 leaves that to its initialisation.
    dropout_rate: of the attention weights.
    rows_at_once: rows of whole sequences whose scores are held at a time, and computed again in the
      backward pass: less memory, and on a CPU less time where rows are long; 0: all.
    rotary: whether queries and keys are rotated by their positions.
    rotary_base: see `rotate`.
    rotary_scaling: see `RotaryScaling`.
    dtype: of the products; the softmax is float32.
  """

  features: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  use_bias: bool = True
  qkv_bias: bool = False
  scaled: bool = True
  dropout_rate: float = 0.0
  rows_at_once: int = 0
  rotary: bool = False
  rotary_base: float = 10_000.0
  rotary_scaling: RotaryScaling | None = None
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    d, n, k, h = self.features, self.num_heads, self.num_kv_heads, self.head_dim
    names = (axes.EMBED, axes.HEADS, None)
    bias = self.use_bias or self.qkv_bias
    self.query = _Projection((d, n, h), names, 1, bias)
    self.key = _Projection((d, k, h), names, 1, bias)
    self.value = _Projection((d, k, h), names, 1, bias)
    self.out = _Projection((n, h, d), (axes.HEADS, None, axes.EMBED), 2, self.use_bias)

  def project(self, x: jax.Array, positions: jax.Array | None) -> tuple[jax.Array, KeyValues]:
    """Self-attention's queries [B,T,K,N/K,H], and keys and values, of x [B,T,D]."""
    y = self._fused(x, self.query, self.key, self.value)
    query, key, value = y[..., :-2, :], y[..., -2, :], y[..., -1, :]
    if self.rotary:
      query, key = (
        rotate(x, positions, self.rotary_base, self.rotary_scaling) for x in (query, key)
      )
    return query, _key_values(key, value)

  def project_query(self, x: jax.Array) -> jax.Array:
    """Cross-attention's queries [B,T,K,N/K,H] of x [B,T,D]."""
    return self._fused(x, self.query)

  def project_memory(self, memory: jax.Array) -> KeyValues:
    """Cross-attention's keys and values of the memory [B,S,D]."""
    y = self._fused(memory, self.key, self.value)
    return _key_values(y[..., 0, :], y[..., 1, :])

  def attend(
    self,
    query: jax.Array,
    memory: KeyValues,
    mask: Mask | jax.Array,
    bias: jax.Array | None = None,
    *,
    with_weights: bool = False,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Attends from `query` [B,T,K,N/K,H] to the keys and values.

    Args:
      query: from `project` or `project_query`.
      memory: S keys and values.
      mask: symbolic, or bool [B,T,S]. A query that may see nothing gets a mean, never NaN.
      bias: added to the scores, [1,N,T,S], or [1,1,T,S] for all heads.
      with_weights: whether weights are returned; else nothing but the output need be computed.

    Returns:
      the output [B,T,D], and None or the weights before dropout, the mean of all heads, [B,T,S].
    """
    group = self.num_heads // self.num_kv_heads
    if bias is not None:
      bias = bias.astype(jnp.float32)
      heads = (1, 1) if bias.shape[1] == 1 else (self.num_kv_heads, group)
      bias = bias.reshape(1, *heads, *bias.shape[2:])

    def rows(query: jax.Array, *others: Any) -> tuple[jax.Array, jax.Array | None]:
      inputs = self.dropout_rate, jnp.transpose(query, (0, 2, 3, 1, 4)), *others
      if with_weights:
        y, weights = dot_product.attend(*inputs)
      else:
        y, weights = dot_product.read(*inputs), None
      return jnp.transpose(y, (0, 3, 1, 2, 4)), weights

    if self.scaled:
      query = query * self.head_dim**-0.5
    key = dropout_key(self, self.dropout_rate)
    whole_sequences = isinstance(mask, Mask)
    if self.rows_at_once and whole_sequences and not with_weights:
      part = lambda query, memory, mask, key: rows(query, memory, mask, bias, key)[0]  # noqa: E731
      y = _in_parts(part, self.rows_at_once, (query, memory, mask), key)
    else:
      y, weights = rows(query, memory, mask, bias, key)
    y = y.reshape(*y.shape[:2], self.num_heads, self.head_dim)
    y = axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_HEADS, None)
    kernel, out_bias = self.out()
    y = product(y, kernel.astype(self.dtype), num_inputs=2)
    y = y if out_bias is None else add(y, out_bias)
    return y, weights.mean(axis=(1, 2)) if with_weights else None

  def _fused(self, x: jax.Array, *projections: "_Projection") -> jax.Array:
    """One product for several projections of x [B,T,D], grouped by key/value head: [B,T,K,G,H]."""

    def grouped(array: jax.Array) -> jax.Array:
      *lead, heads, dim = array.shape
      return array.reshape(*lead, self.num_kv_heads, heads // self.num_kv_heads, dim)

    kernels, biases = zip(*(projection() for projection in projections), strict=True)
    kernel = jnp.concatenate([grouped(kernel) for kernel in kernels], axis=2)
    y = product(x.astype(self.dtype), kernel.astype(self.dtype))
    if biases[0] is not None:
      y = add(y, jnp.concatenate([grouped(bias) for bias in biases], axis=1))
    return axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_HEADS, None, None)


class _Projection(nn.Module):
  """Kernel and bias of one projection; the product is made by whoever fuses them."""

  shape: tuple[int, ...]
  names: tuple[str | None, ...]
  num_inputs: int
  use_bias: bool

  @nn.compact
  def __call__(self) -> tuple[jax.Array, jax.Array | None]:
    kernel = axes.param(self, "kernel", kernel_init(self.num_inputs), self.shape, self.names)
    if not self.use_bias:
      return kernel, None
    shape, names = self.shape[self.num_inputs :], self.names[self.num_inputs :]
    return kernel, axes.param(self, "bias", nn.initializers.zeros, shape, names)


def _in_parts(function: Callable, size: int, rows: Any, key: jax.Array | None) -> jax.Array:
  """`function(*rows, key)` on `size` rows at a time, of a tree of arrays [B,…]; keeps no more."""
  batch = jax.tree.leaves(rows)[0].shape[0]
  if batch % size:
    return function(*rows, key)
  parts = batch // size
  # Strided, so that each device's rows stay where they are.
  rows = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(size, parts, *x.shape[1:]), 0, 1), rows)

  @jax.checkpoint
  def part(number: jax.Array, rows: Any) -> jax.Array:
    return function(*rows, None if key is None else jax.random.fold_in(key, number))

  y = jax.lax.map(lambda numbered: part(*numbered), (jnp.arange(parts), rows))
  return jnp.swapaxes(y, 0, 1).reshape(batch, *y.shape[2:])


def _key_values(key: jax.Array, value: jax.Array) -> KeyValues:
  """From [B,S,K,H] to the layout of the cache, gathered where rows are split along their length."""
  keys, values = jnp.transpose(key, (0, 2, 3, 1)), jnp.swapaxes(value, 1, 2)
  return KeyValues(
    axes.constrain(keys, axes.BATCH, axes.ACT_HEADS, None, axes.KEY_LENGTH),
    axes.constrain(values, axes.BATCH, axes.ACT_HEADS, axes.KEY_LENGTH, None),
  )

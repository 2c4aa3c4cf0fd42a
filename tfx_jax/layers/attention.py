"""Multi-head attention with as many key/value heads as query heads, or fewer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.common.tree import Tree
from tfx_jax.layers import axes, dot_product
from tfx_jax.layers.cache import KeyValues
from tfx_jax.layers.dropout import dropout_key
from tfx_jax.layers.linear import add, kernel_init, product
from tfx_jax.layers.mask import Mask
from tfx_jax.layers.position import Grid, RotaryScaling, rotate


class Attention(nn.Module):
  """Scaled dot-product attention (Vaswani et al. 2017, 3.2; grouped: arXiv:2305.13245).

  Query head n reads key/value head n // G. Projections that share an input are separate parameters,
  but one product.

  Attributes:
    features: D.
    num_heads: N.
    num_kv_heads: K, a divisor of N.
    head_dim: H.
    use_bias: whether the four projections have biases.
    qkv_bias: whether queries, keys and values have biases even if `use_bias` is false (Qwen2).
    scaled: whether scores are divided by sqrt(H); T5 leaves that to its initialisation.
    dropout_rate: dropout rate of the attention weights.
    rows_at_once: number of batch rows whose scores are held at a time, for whole sequences; they
      are computed again in the backward pass. Saves memory and, on a CPU with long rows, time.
      0: all rows.
    rotary: whether queries and keys are rotated by their positions.
    rotary_base: see `rotate`.
    rotary_scaling: see `RotaryScaling`.
    rotary_grid: see `rotate`.
    dtype: dtype of the products; the softmax is float32.
    plain_gradients: whether JAX derives the gradient, see `gradients.py`.
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
  rotary_grid: Grid | None = None
  dtype: jnp.dtype = jnp.float32
  plain_gradients: bool = False

  def setup(self):
    d, n, k, h = self.features, self.num_heads, self.num_kv_heads, self.head_dim
    names = (axes.EMBED, axes.HEADS, None)
    bias = self.use_bias or self.qkv_bias
    self.query = _Projection((d, n, h), names, 1, bias)
    self.key = _Projection((d, k, h), names, 1, bias)
    self.value = _Projection((d, k, h), names, 1, bias)
    self.out = _Projection((n, h, d), (axes.HEADS, None, axes.EMBED), 2, self.use_bias)

  def project(self, x: jax.Array, positions: jax.Array) -> tuple[jax.Array, KeyValues]:
    """Projects x [B,T,D] to self-attention's queries [B,T,K,G,H], and its keys and values."""
    y = self._fused(x, self.query, self.key, self.value)
    # [B,T,K,G+2,H] -> [B,T,K,G,H] and twice [B,T,K,H]
    query, key, value = y[..., :-2, :], y[..., -2, :], y[..., -1, :]
    if self.rotary:
      query, key = (
        rotate(x, positions, self.rotary_base, self.rotary_scaling, self.rotary_grid)
        for x in (query, key)
      )
    return query, _key_values(key, value)

  def project_query(self, x: jax.Array) -> jax.Array:
    """Projects x [B,T,D] to cross-attention's queries [B,T,K,G,H]."""
    return self._fused(x, self.query)

  def project_memory(self, memory: jax.Array) -> KeyValues:
    """Projects the memory [B,S,D] to cross-attention's keys and values."""
    y = self._fused(memory, self.key, self.value)
    return _key_values(y[..., 0, :], y[..., 1, :])  # [B,S,K,2,H] -> twice [B,S,K,H]

  def attend(
    self,
    query: jax.Array,
    memory: KeyValues,
    mask: Mask | jax.Array,
    bias: jax.Array | None = None,
    *,
    with_weights: bool = False,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Attends from `query` [B,T,K,G,H] to the keys and values.

    Args:
      query: from `project` or `project_query`.
      memory: S keys and values.
      mask: symbolic, or bool [B,T,S]. A query that sees no key gets the mean of all, never NaN.
      bias: added to the scores, [1,N,T,S], or [1,1,T,S] for all heads.
      with_weights: whether to return the weights, which otherwise are not kept.

    Returns:
      the output [B,T,D], and None or the weights before dropout, averaged over heads, [B,T,S].
    """
    if bias is not None:
      group = self.num_heads // self.num_kv_heads
      heads = (1, 1) if bias.shape[1] == 1 else (self.num_kv_heads, group)
      bias = bias.astype(jnp.float32)
      bias = bias.reshape(1, *heads, *bias.shape[2:])  # [1,N,T,S] -> [1,K,G,T,S]

    def attend(query: jax.Array, *others: Tree) -> tuple[jax.Array, jax.Array | None]:
      query = jnp.transpose(query, (0, 2, 3, 1, 4))  # [B,T,K,G,H] -> [B,K,G,T,H]
      inputs = self.dropout_rate, query, *others
      if with_weights:
        y, weights = dot_product.attend_with_weights(*inputs)
      else:
        y, weights = dot_product.attend(*inputs, plain_gradients=self.plain_gradients), None
      return jnp.transpose(y, (0, 3, 1, 2, 4)), weights  # [B,K,G,T,H] -> [B,T,K,G,H]

    if self.scaled:
      query = query * self.head_dim**-0.5
    key = dropout_key(self, self.dropout_rate)
    whole_sequences = isinstance(mask, Mask)
    weights = None
    if self.rows_at_once and whole_sequences and not with_weights:
      y = _map_rows(
        lambda query, memory, mask, key: attend(query, memory, mask, bias, key)[0],
        self.rows_at_once,
        (query, memory, mask),
        key,
      )
    else:
      y, weights = attend(query, memory, mask, bias, key)
    y = y.reshape(*y.shape[:2], self.num_heads, self.head_dim)  # [B,T,K,G,H] -> [B,T,N,H]
    y = axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_HEADS, None)
    kernel, out_bias = self.out()
    y = product(y, kernel.astype(self.dtype), num_inputs=2)  # btnh,nhd->btd
    y = y if out_bias is None else add(y, out_bias)
    # [B,K,G,T,S] -> [B,T,S]
    return y, weights.mean(axis=(1, 2)) if with_weights and weights is not None else None

  def _fused(self, x: jax.Array, *projections: "_Projection") -> jax.Array:
    """Computes several projections of x [B,T,D] by one product: [B,T,K,G',H].

    G' heads belong to a key/value head: G of queries, one of keys, one of values.
    """

    def grouped(array: jax.Array) -> jax.Array:
      *lead, heads, dim = array.shape
      # [D,N,H] -> [D,K,G,H]; a bias has no D.
      return array.reshape(*lead, self.num_kv_heads, heads // self.num_kv_heads, dim)

    kernels, biases = zip(*(projection() for projection in projections), strict=True)
    kernel = jnp.concatenate([grouped(kernel) for kernel in kernels], axis=2)
    y = product(x.astype(self.dtype), kernel.astype(self.dtype))  # btd,dkgh->btkgh
    if biases[0] is not None:
      y = add(y, jnp.concatenate([grouped(bias) for bias in biases], axis=1))
    return axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_HEADS, None, None)


class _Projection(nn.Module):
  """Kernel and bias of one projection; `Attention._fused` computes the product."""

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


def _map_rows(function: Callable, size: int, arrays: Tree, key: jax.Array | None) -> jax.Array:
  """Computes `function(*arrays, key)` for `size` batch rows at a time, of a tree of arrays [B,…].

  Saves the inputs only; the backward pass computes the rest again.
  """
  batch = jax.tree.leaves(arrays)[0].shape[0]
  if batch % size:
    return function(*arrays, key)
  chunks = batch // size
  # Strided, so that each device's rows stay where they are: [B,…] -> [B/size,size,…].
  arrays = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(size, chunks, *x.shape[1:]), 0, 1), arrays)

  @jax.checkpoint
  def chunk(number: jax.Array, arrays: Tree) -> jax.Array:
    return function(*arrays, None if key is None else jax.random.fold_in(key, number))

  y = jax.lax.map(lambda numbered: chunk(*numbered), (jnp.arange(chunks), arrays))
  return jnp.swapaxes(y, 0, 1).reshape(batch, *y.shape[2:])  # [B/size,size,…] -> [B,…]


def _key_values(key: jax.Array, value: jax.Array) -> KeyValues:
  """Lays keys and values [B,S,K,H] out as the cache does; gathers S if it was sharded."""
  keys = jnp.transpose(key, (0, 2, 3, 1))  # [B,S,K,H] -> [B,K,H,S]
  values = jnp.swapaxes(value, 1, 2)  # [B,S,K,H] -> [B,K,S,H]
  return KeyValues(
    axes.constrain(keys, axes.BATCH, axes.ACT_HEADS, None, axes.KEY_LENGTH),
    axes.constrain(values, axes.BATCH, axes.ACT_HEADS, axes.KEY_LENGTH, None),
  )

"""Scaled dot-product attention without parameters: from queries, keys and values to outputs."""

import jax
import jax.numpy as jnp
import numpy as np

from tfx_jax.common.tree import Tree
from tfx_jax.layers.cache import KeyValues
from tfx_jax.layers.dropout import drop
from tfx_jax.layers.gradients import with_written_gradient
from tfx_jax.layers.mask import Mask, lower
from tfx_jax.layers.row_sum import row_sum


def attend_with_weights(
  dropout_rate: float,
  query: jax.Array,
  memory: KeyValues,
  mask: Mask | jax.Array,
  bias: jax.Array | None,
  key: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Returns the output of each query and its attention weights; JAX derives the gradient.

  Args:
    dropout_rate: dropout rate of the weights.
    query: [B,K,G,T,H], scaled.
    memory: S keys and values of K heads.
    mask: symbolic, or bool [B,T,S]. A query that sees no key gets the mean of all, never NaN.
    bias: added to the scores, float32 [1,K,G,T,S] or [1,1,1,T,S] for all heads; or None.
    key: key of dropout, or None.

  Returns:
    the output [B,K,G,T,H] in the dtype of the query, and the weights before dropout, float32
    [B,K,G,T,S].
  """
  scores = _dot(_merge_group(query), 3, memory.keys, 2, jnp.float32)  # bkgth,bkhs->bkgts
  scores = scores.reshape(*query.shape[:-1], -1)  # [B,K,G·T,S] -> [B,K,G,T,S]
  scores = scores if bias is None else scores + bias
  scores = jnp.where(_visible(mask), scores, jnp.finfo(jnp.float32).min)
  weights = jax.nn.softmax(scores)
  dropped = drop(weights.astype(query.dtype), dropout_rate, key)
  y = _dot(_merge_group(dropped), 3, memory.values, 2, query.dtype)  # bkgts,bksh->bkgth
  return y.reshape(query.shape), weights  # [B,K,G·T,H] -> [B,K,G,T,H]


def _plain(dropout_rate: float, *inputs: Tree) -> jax.Array:
  return attend_with_weights(dropout_rate, *inputs)[0]


def _forward(dropout_rate: float, *inputs: Tree) -> tuple:
  y, weights = attend_with_weights(dropout_rate, *inputs)
  return y, (inputs, weights, y)


def _backward(dropout_rate: float, saved: tuple, grad: jax.Array) -> tuple:
  """Computes the gradients of queries, keys, values and bias, going through the scores once.

  The softmax's gradient subtracts a sum over S of weights times their gradients. It equals the sum
  over H of the output times its gradient (Dao et al. 2022, arXiv:2205.14135, appendix B.2), which
  is known before the weights' gradients are.
  """
  (query, memory, mask, bias, key), weights, y = saved
  dropped = drop(weights.astype(query.dtype), dropout_rate, key)
  merged_grad = _merge_group(grad)
  # bkgts,bkgth->bksh
  of_values = _dot(_merge_group(dropped), 2, merged_grad, 2, memory.values.dtype)
  of_weights = _dot(merged_grad, 3, memory.values, 3, jnp.float32)  # bkgth,bksh->bkgts
  of_weights = of_weights.reshape(weights.shape)  # [B,K,G·T,S] -> [B,K,G,T,S]
  subtracted = row_sum(grad.astype(jnp.float32) * y.astype(jnp.float32))  # [B,K,G,T,1]
  of_scores = weights * (drop(of_weights, dropout_rate, key) - subtracted)
  of_scores = jnp.where(_visible(mask), of_scores, 0.0)
  of_bias = None
  if bias is not None:
    shared = [axis for axis, size in enumerate(bias.shape) if size == 1]
    of_bias = of_scores.sum(axis=shared, keepdims=True)  # [B,K,G,T,S] -> shape of the bias
  of_scores = _merge_group(of_scores.astype(query.dtype))
  of_query = _dot(of_scores, 3, memory.keys, 3, query.dtype)  # bkgts,bkhs->bkgth
  of_keys = _dot(_merge_group(query), 2, of_scores, 2, memory.keys.dtype)  # bkgth,bkgts->bkhs
  return (
    of_query.reshape(query.shape),  # [B,K,G·T,H] -> [B,K,G,T,H]
    KeyValues(of_keys, of_values),
    _no_gradient(mask),
    of_bias,
    _no_gradient(key),
  )


# The output of `attend_with_weights`, for the same arguments and `plain_gradients`.
attend = with_written_gradient(_plain, _forward, _backward, num_static=1)


def _merge_group(x: jax.Array) -> jax.Array:
  """[B,K,G,T,I] -> [B,K,G·T,I]: to a key/value head, the heads of its group are more queries."""
  return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _visible(mask: Mask | jax.Array) -> jax.Array:
  """Returns the mask for scores, [B,T,S] -> [B,1,1,T,S]."""
  return lower(mask)[:, None, None]


def _dot(x: jax.Array, axis: int, y: jax.Array, other: int, dtype: jnp.dtype) -> jax.Array:
  """Contracts axis 2 or 3 of x [B,K,…,…] with one of y [B,K,…,…]; what is left of x comes first.

  Not by einsum, which chooses an order of operands that is slow where there are few queries.
  """
  dimensions = ((axis,), (other,)), ((0, 1), (0, 1))
  return jax.lax.dot_general(x, y, dimensions, preferred_element_type=dtype)


def _no_gradient(tree: Tree) -> Tree:
  """Returns the cotangents that JAX expects of integers, booleans and keys."""
  return jax.tree.map(lambda x: np.zeros(x.shape, jax.dtypes.float0), tree)

"""From scaled queries, keys and values to what is read: attention without parameters."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tfx_jax.layers.cache import KeyValues
from tfx_jax.layers.dropout import drop
from tfx_jax.layers.mask import Mask, lower
from tfx_jax.layers.row_sum import row_sum


def attend(
  dropout_rate: float,
  query: jax.Array,
  memory: KeyValues,
  mask: Mask | jax.Array,
  bias: jax.Array | None,
  key: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """What each query reads, and its weights before dropout; its gradient is the derived one.

  Args:
    dropout_rate: of the weights.
    query: [B,K,N/K,T,H], scaled.
    memory: S keys and values of K heads.
    mask: symbolic, or bool [B,T,S]. A query that may see nothing gets a mean, never NaN.
    bias: added to the scores, float32 [1,K,N/K,T,S] or 1 where it is the same for all; or None.
    key: of dropout, or None.

  Returns:
    [B,K,N/K,T,H] in the dtype of the query, and float32 [B,K,N/K,T,S].
  """
  scores = _dot(_rows(query), 3, memory.keys, 2, jnp.float32).reshape(*query.shape[:-1], -1)
  scores = scores if bias is None else scores + bias
  scores = jnp.where(_seen(mask), scores, jnp.finfo(jnp.float32).min)
  probabilities = jax.nn.softmax(scores)
  weights = drop(probabilities.astype(query.dtype), dropout_rate, key)
  y = _dot(_rows(weights), 3, memory.values, 2, query.dtype).reshape(query.shape)
  return y, probabilities


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def read(dropout_rate: float, *inputs: Any) -> jax.Array:
  """The first result of `attend`; its gradient is written out.

  What the softmax's gradient takes off is the product of output and its gradient, summed over H and
  not over S (Dao et al. 2022, arXiv:2205.14135, appendix B.2), so that between the products with
  values and with keys the scores are gone through once.
  """
  return attend(dropout_rate, *inputs)[0]


def _forward(dropout_rate: float, *inputs: Any) -> tuple:
  y, probabilities = attend(dropout_rate, *inputs)
  return y, (inputs, probabilities, y)


def _backward(dropout_rate: float, saved: tuple, of_y: jax.Array) -> tuple:
  (query, memory, mask, bias, key), probabilities, y = saved
  weights = drop(probabilities.astype(query.dtype), dropout_rate, key)
  of_values = _dot(_rows(weights), 2, _rows(of_y), 2, memory.values.dtype)
  of_weights = _dot(_rows(of_y), 3, memory.values, 3, jnp.float32).reshape(weights.shape)
  taken = row_sum(of_y.astype(jnp.float32) * y.astype(jnp.float32))
  of_scores = probabilities * (drop(of_weights, dropout_rate, key) - taken)
  of_scores = jnp.where(_seen(mask), of_scores, 0.0)
  of_bias = None
  if bias is not None:
    shared = [axis for axis, size in enumerate(bias.shape) if size == 1]
    of_bias = of_scores.sum(axis=shared, keepdims=True)
  of_scores = _rows(of_scores.astype(query.dtype))
  of_query = _dot(of_scores, 3, memory.keys, 3, query.dtype).reshape(query.shape)
  of_keys = _dot(_rows(query), 2, of_scores, 2, memory.keys.dtype)
  return of_query, KeyValues(of_keys, of_values), _no_gradient(mask), of_bias, _no_gradient(key)


read.defvjp(_forward, _backward)


def _rows(x: jax.Array) -> jax.Array:
  """[B,K,N/K,T,I] to [B,K,N/K T,I]: the query heads of a group are just more queries."""
  return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _seen(mask: Mask | jax.Array) -> jax.Array:
  """For scores: [B,1,1,T,S]."""
  return lower(mask)[:, None, None]


def _dot(x: jax.Array, axis: int, y: jax.Array, other: int, dtype: jnp.dtype) -> jax.Array:
  """Contracts axis 2 or 3 of x [B,K,…,…] and of y: [B,K,…,…].

  Not by einsum, which chooses an order of factors that is slow where there are few queries.
  """
  dimensions = ((axis,), (other,)), ((0, 1), (0, 1))
  return jax.lax.dot_general(x, y, dimensions, preferred_element_type=dtype)


def _no_gradient(tree: Any) -> Any:
  return jax.tree.map(lambda x: np.zeros(x.shape, jax.dtypes.float0), tree)

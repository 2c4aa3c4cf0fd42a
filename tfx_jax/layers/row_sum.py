"""Sums over the last axis, as each platform has them cheapest."""

import jax
import jax.numpy as jnp


def row_sum(x: jax.Array, weights: jax.Array | None = None) -> jax.Array:
  """The sum of float32 x [...,I], times `weights` [I] if given: [...,1].

  On a CPU it is a product with a vector, since XLA would make one program of a sum and of what it
  is taken off or divides, and run that several times as long. Elsewhere it is a sum, which fuses.
  """
  weights = jnp.ones(x.shape[-1:], x.dtype) if weights is None else weights
  return jax.lax.platform_dependent(x, weights, cpu=_product, default=_sum)


def _product(x: jax.Array, weights: jax.Array) -> jax.Array:
  return jnp.matmul(x, weights, precision="highest")[..., None]


def _sum(x: jax.Array, weights: jax.Array) -> jax.Array:
  weights = weights.reshape((1,) * (x.ndim - 1) + weights.shape)
  return (x * weights).sum(axis=-1, keepdims=True)

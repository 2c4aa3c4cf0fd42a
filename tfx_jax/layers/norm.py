"""Normalisation of activations [...,D]; statistics are float32 whatever the compute dtype."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes
from tfx_jax.layers.gradients import with_written_gradient
from tfx_jax.layers.linear import add
from tfx_jax.layers.row_sum import row_sum


class LayerNorm(nn.Module):
  """Layer normalisation (Ba et al. 2016, arXiv:1607.06450).

  Attributes:
    features: D.
    epsilon: added to the variance.
    use_bias: whether a learned offset is added.
    dtype: dtype of the output.
    plain_gradients: whether JAX derives the gradient, see `gradients.py`.
  """

  features: int
  epsilon: float = 1e-6
  use_bias: bool = True
  dtype: jnp.dtype = jnp.float32
  plain_gradients: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return _scaled(self, x, centred=True, use_bias=self.use_bias)


class RMSNorm(nn.Module):
  """Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv:1910.07467): no mean, no offset.

  Attributes:
    features: D.
    epsilon: added to the mean square.
    dtype: dtype of the output.
    plain_gradients: whether JAX derives the gradient, see `gradients.py`.
  """

  features: int
  epsilon: float = 1e-6
  dtype: jnp.dtype = jnp.float32
  plain_gradients: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return _scaled(self, x, centred=False, use_bias=False)


def _scaled(module: LayerNorm | RMSNorm, x: jax.Array, centred: bool, use_bias: bool) -> jax.Array:
  """Normalises, scales, and adds an offset if `use_bias`."""
  shape, names = (module.features,), (axes.EMBED,)
  scale = axes.param(module, "scale", nn.initializers.ones, shape, names)
  x = x.astype(jnp.float32)
  y = _normalize(centred, module.epsilon, x, scale, plain_gradients=module.plain_gradients)
  if use_bias:
    y = add(y, axes.param(module, "bias", nn.initializers.zeros, shape, names))
  return y.astype(module.dtype)


def _plain(centred: bool, epsilon: float, x: jax.Array, scale: jax.Array) -> jax.Array:
  """Divides x [...,D], less its mean if `centred`, by its root mean square; times `scale` [D]."""
  return _forward(centred, epsilon, x, scale)[0]


def _forward(centred: bool, epsilon: float, x: jax.Array, scale: jax.Array) -> tuple:
  # [...,D] -> [...,1]
  mean = row_sum(x) / scale.size if centred else jnp.zeros((), jnp.float32)
  inverse_std = jax.lax.rsqrt(row_sum(jnp.square(x - mean)) / scale.size + epsilon)
  return (x - mean) * inverse_std * _broadcast(scale, x), (x, scale, mean, inverse_std)


def _backward(centred: bool, epsilon: float, saved: tuple, grad: jax.Array) -> tuple:
  """Computes the gradients of x and `scale` from x and the statistics.

  Of arrays [...,D] only x is saved, which is saved in any case. The gradient that JAX derives saves
  and writes more.
  """
  x, scale, mean, inverse_std = saved
  normalized = (x - mean) * inverse_std
  product = grad * normalized
  # How the gradient flows through the variance and through the mean, [...,D] -> [...,1].
  by_variance = row_sum(product, scale) / scale.size
  by_mean = row_sum(grad, scale) / scale.size if centred else 0.0
  of_x = inverse_std * (grad * _broadcast(scale, x) - by_mean - normalized * by_variance)
  return of_x, product.sum(axis=range(x.ndim - 1))  # [...,D] -> [D]


_normalize = with_written_gradient(_plain, _forward, _backward, num_static=2)


def _broadcast(vector: jax.Array, x: jax.Array) -> jax.Array:
  return vector.reshape((1,) * (x.ndim - 1) + vector.shape)  # [D] -> [1,…,D]

"""Normalisation of activations [..., D]; statistics in float32 whatever the compute dtype."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes
from tfx_jax.layers.linear import add
from tfx_jax.layers.row_sum import row_sum


class LayerNorm(nn.Module):
  """Layer normalisation (Ba et al. 2016, arXiv:1607.06450).

  Attributes:
    features: D.
    epsilon: added to the variance.
    use_bias: whether a learned offset is added.
    dtype: of the output.
  """

  features: int
  epsilon: float = 1e-6
  use_bias: bool = True
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return _scaled(self, x, centred=True, use_bias=self.use_bias)


class RMSNorm(nn.Module):
  """Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv:1910.07467): no mean, no offset.

  Attributes:
    features: D.
    epsilon: added to the mean square.
    dtype: of the output.
  """

  features: int
  epsilon: float = 1e-6
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return _scaled(self, x, centred=False, use_bias=False)


def _scaled(module: LayerNorm | RMSNorm, x: jax.Array, centred: bool, use_bias: bool) -> jax.Array:
  """Normalises, scales, and offsets if `use_bias`."""
  shape, names = (module.features,), (axes.EMBED,)
  scale = axes.param(module, "scale", nn.initializers.ones, shape, names)
  y = _normalised(centred, module.epsilon, x.astype(jnp.float32), scale)
  if use_bias:
    y = add(y, axes.param(module, "bias", nn.initializers.zeros, shape, names))
  return y.astype(module.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _normalised(centred: bool, epsilon: float, x: jax.Array, scale: jax.Array) -> jax.Array:
  """Divides x [...,D], centred or not, by its root mean square, and multiplies by `scale` [D].

  The gradient is written out: of arrays [...,D] it keeps x alone, which is kept in any case, and
  writes fewer than the one that is derived.
  """
  return _forward(centred, epsilon, x, scale)[0]


def _forward(centred: bool, epsilon: float, x: jax.Array, scale: jax.Array) -> tuple:
  mean = row_sum(x) / scale.size if centred else jnp.zeros((), jnp.float32)
  rate = jax.lax.rsqrt(row_sum(jnp.square(x - mean)) / scale.size + epsilon)
  return (x - mean) * rate * _along(scale, x), (x, scale, mean, rate)


def _backward(centred: bool, epsilon: float, saved: tuple, grad: jax.Array) -> tuple:
  x, scale, mean, rate = saved
  plain = (x - mean) * rate
  product = grad * plain
  along = row_sum(product, scale) / scale.size
  across = row_sum(grad, scale) / scale.size if centred else 0.0
  of_x = rate * (grad * _along(scale, x) - across - plain * along)
  return of_x, product.sum(axis=range(x.ndim - 1))


_normalised.defvjp(_forward, _backward)


def _along(vector: jax.Array, x: jax.Array) -> jax.Array:
  return vector.reshape((1,) * (x.ndim - 1) + vector.shape)

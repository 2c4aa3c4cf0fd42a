"""Normalisation of activations [..., D]; statistics in float32 whatever the compute dtype."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes
from tfx_jax.layers.linear import add


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
    x = x.astype(jnp.float32)
    x = x - x.mean(axis=-1, keepdims=True)
    return _scaled(self, x, self.use_bias)


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
    return _scaled(self, x.astype(jnp.float32), use_bias=False)


def _scaled(module: LayerNorm | RMSNorm, x: jax.Array, use_bias: bool) -> jax.Array:
  """Divides by the root mean square of `x`, scales, and offsets if `use_bias`."""
  shape, names = (module.features,), (axes.EMBED,)
  scale = axes.param(module, "scale", nn.initializers.ones, shape, names)
  y = x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + module.epsilon)
  y = y * scale.reshape((1,) * (x.ndim - 1) + shape)
  if use_bias:
    y = add(y, axes.param(module, "bias", nn.initializers.zeros, shape, names))
  return y.astype(module.dtype)

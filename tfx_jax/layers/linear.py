"""Linear maps whose parameters carry logical axis names."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes


def kernel_init(num_inputs: int) -> Callable[..., jax.Array]:
  """Returns Glorot uniform for kernels whose first `num_inputs` axes are inputs."""

  def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    ins, outs = range(num_inputs), range(num_inputs, len(shape))
    return nn.initializers.variance_scaling(
      1.0, "fan_avg", "uniform", in_axis=tuple(ins), out_axis=tuple(outs)
    )(key, shape, dtype)

  return init


class Linear(nn.Module):
  """[...,I] -> [...,O], with an optional bias.

  Attributes:
    inputs: I.
    outputs: O.
    names: logical names of the kernel's two axes.
    use_bias: whether a bias is added.
    dtype: dtype of the product and the output.
  """

  inputs: int
  outputs: int
  names: tuple[str | None, str | None]
  use_bias: bool = True
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = axes.param(self, "kernel", kernel_init(1), (self.inputs, self.outputs), self.names)
    y = product(x.astype(self.dtype), kernel.astype(self.dtype))
    if self.use_bias:
      zeros = nn.initializers.zeros
      y = add(y, axes.param(self, "bias", zeros, (self.outputs,), self.names[1:]))
    return y


def product(x: jax.Array, kernel: jax.Array, num_inputs: int = 1) -> jax.Array:
  """Contracts the last `num_inputs` axes of x [B,T,...] with the first of `kernel`: [B,T,...].

  Flattens B and T unless T is sharded; otherwise XLA transposes both operands to compute the
  kernel's gradient.
  """
  lead, outputs = x.shape[: x.ndim - num_inputs], kernel.shape[num_inputs:]
  rows = lead if axes.is_sharded(axes.LENGTH) else (math.prod(lead),)
  inputs = math.prod(kernel.shape[:num_inputs])
  x = x.reshape(*rows, inputs)  # [B,T,inputs...] -> [B·T,I], or [B,T,I] where T is sharded
  kernel = kernel.reshape(inputs, math.prod(outputs))  # [inputs...,outputs...] -> [I,O]
  return (x @ kernel).reshape(*lead, *outputs)  # [B·T,O] -> [B,T,outputs...]


def add(x: jax.Array, bias: jax.Array) -> jax.Array:
  """Adds `bias` along the last axes of `x`, in the dtype of `x`."""
  bias = bias.astype(x.dtype)
  return x + bias.reshape((1,) * (x.ndim - bias.ndim) + bias.shape)  # [D] -> [1,1,D]

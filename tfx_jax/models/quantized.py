"""Weights in eight bits, with a scale for each output channel: a quarter of the memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tfx_jax.models.parameters import MATRICES, input_axes

WEIGHTS = ("float32", "int8")
_VALUES, _SCALE = "int8", "scale"
_LARGEST = 127


class Quantized:
  """A trained model whose matrices are held as int8; they are made whole when it is applied.

  A search makes them whole once (`dequantize`), and they take their memory until it is done.

  Args:
    model: with `apply`, of float32 parameters.
  """

  def __init__(self, model: nn.Module):
    self.model = model

  def apply(self, variables: Mapping[str, Any], *inputs: Any, **settings: Any) -> Any:
    """What the model makes of `inputs`, given the parameters that `quantize` has made."""
    params = dequantize(variables["params"])
    return self.model.apply({"params": params}, *inputs, **settings)


def quantize(params: Any) -> Any:
  """Parameters whose kernels and tables of embeddings are {"int8": values, "scale": of a channel}.

  A channel is an output of a kernel or a row of a table, which is an output of a tied head too. Its
  scale is its greatest magnitude / 127, its values are rounded to the nearest.
  """

  def rounded(path: tuple, x: jax.Array) -> Any:
    names = [key.key for key in path]
    if names[-1] not in MATRICES:
      return x
    scale = jnp.abs(x).max(axis=_inputs(names, x.ndim), keepdims=True) / _LARGEST
    scale = jnp.where(scale > 0, scale, 1.0)
    return {_VALUES: jnp.round(x / scale).astype(jnp.int8), _SCALE: scale}

  return jax.tree.map_with_path(rounded, params)


def dequantize(params: Any) -> Any:
  """Float32 parameters again; those that are no output of `quantize` are left as they are."""
  return jax.tree.map(
    lambda x: x[_VALUES] * x[_SCALE] if _is_matrix(x) else x, params, is_leaf=_is_matrix
  )


def count_parameters(params: Any) -> int:
  """Returns the number of parameters; a quantized matrix counts as the one it stands for."""
  return int(sum(np.prod(x.shape) for x in jax.tree.leaves(jax.eval_shape(dequantize, params))))


def _is_matrix(x: Any) -> bool:
  return isinstance(x, Mapping) and x.keys() == {_VALUES, _SCALE}


def _inputs(names: Sequence[str], ndim: int) -> tuple[int, ...]:
  """The axes that a channel is made of."""
  if names[-1] == "embedding":
    return (ndim - 1,)
  first = int("stacked" in names)
  return tuple(range(first, first + input_axes(names, ndim + 1 - first)))

"""Weights stored as int8 with a scale for each output channel: a quarter of the memory."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tfx_jax.models.model import Batch, BoundModel, Model, Params
from tfx_jax.models.parameters import MATRICES, input_axes

WEIGHTS = ("float32", "int8")
_VALUES, _SCALE = "int8", "scale"
_LARGEST = 127


class Quantized:
  """A trained model whose matrices are stored as int8 and dequantized when it is bound.

  A search dequantizes them once (`dequantize`); they take float32's memory until it ends.

  Args:
    model: the model of float32 parameters.
  """

  def __init__(self, model: Model):
    self.model = model

  def init(self, rngs: jax.Array, batch: Batch) -> dict[str, Params]:
    """Returns new variables, quantized and without the names of axes."""
    return {"params": quantize(nn.unbox(self.model.init(rngs, batch)["params"]))}

  def bind(
    self, variables: Mapping[str, Params], *, rngs: dict[str, jax.Array] | None = None
  ) -> BoundModel:
    """Returns the model with parameters, given those that `quantize` returns."""
    return self.model.bind({"params": dequantize(variables["params"])}, rngs=rngs)


def quantize(params: Params) -> Params:
  """Returns parameters with {"int8": values, "scale": …} in place of each kernel and table.

  There is a scale for each channel: an output of a kernel, or a row of an embedding table, which is
  an output of a tied head too. It is the channel's greatest magnitude / 127; values are rounded to
  the nearest.
  """

  def rounded(path: tuple, x: jax.Array) -> Params:
    names = [key.key for key in path]
    if names[-1] not in MATRICES:
      return x
    scale = jnp.abs(x).max(axis=_inputs(names, x.ndim), keepdims=True) / _LARGEST
    scale = jnp.where(scale > 0, scale, 1.0)
    return {_VALUES: jnp.round(x / scale).astype(jnp.int8), _SCALE: scale}

  return jax.tree.map_with_path(rounded, params)


def dequantize(params: Params) -> Params:
  """Returns float32 parameters; those that `quantize` has not changed are left as they are."""
  return jax.tree.map(
    lambda x: x[_VALUES] * x[_SCALE] if _is_matrix(x) else x, params, is_leaf=_is_matrix
  )


def count_parameters(params: Params) -> int:
  """Returns the number of parameters; a quantized matrix counts as the one it stands for."""
  return int(sum(np.prod(x.shape) for x in jax.tree.leaves(jax.eval_shape(dequantize, params))))


def _is_matrix(x: object) -> bool:
  return isinstance(x, Mapping) and x.keys() == {_VALUES, _SCALE}


def _inputs(names: Sequence[str], ndim: int) -> tuple[int, ...]:
  """Returns the axes that one channel's scale is computed over."""
  if names[-1] == "embedding":
    return (ndim - 1,)
  first = int("stacked" in names)
  return tuple(range(first, first + input_axes(names, ndim + 1 - first)))

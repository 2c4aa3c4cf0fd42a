"""Finite scalar quantization: vectors of few numbers, each rounded to one of a few levels.

Mentzer et al. (2023, arXiv:2309.15505). The levels are fixed, so there is no codebook to learn or
to collapse, and no loss but that of the reconstruction.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

# Share by which the range is narrower, so that rounding reaches no level more.
_MARGIN = 1e-3


def count_codes(levels: Sequence[int]) -> int:
  """Returns the number of codes, the product of the levels."""
  return math.prod(levels)


def quantize(x: jax.Array, levels: Sequence[int]) -> jax.Array:
  """Rounds vectors [...,G] to levels in [-1, 1]; the gradient is that without rounding.

  Number g takes `levels[g]` values. Section 3.2: it is bounded by tanh and rounded; an even number
  of levels is shifted by half a level, so that 0 is one of them.

  Args:
    x: [...,G], of any range.
    levels: the number of levels of each of the G numbers, 2 or more.
  """
  count = _last(levels, x.ndim).astype(np.float32)
  reach = (count - 1) * np.float32((1 - _MARGIN) / 2)
  offset = np.where(count % 2 == 0, np.float32(0.5), np.float32(0))
  bounded = jnp.tanh(x.astype(jnp.float32) + np.tan(offset / reach)) * reach - offset
  rounded = bounded + jax.lax.stop_gradient(jnp.round(bounded) - bounded)
  return rounded / (count // 2)


def codes_of(values: jax.Array, levels: Sequence[int]) -> jax.Array:
  """Returns the code of quantized vectors: [...,G] -> int32 [...]."""
  half, place = (_last(x, values.ndim) for x in (np.asarray(levels) // 2, _places(levels)))
  digits = jnp.round(values * half.astype(np.float32)).astype(jnp.int32) + half
  return (digits * place).sum(axis=-1).astype(jnp.int32)  # [...,G] -> [...]


def values_of(codes: jax.Array, levels: Sequence[int]) -> jax.Array:
  """Returns the quantized vectors of codes: int32 [...] -> float32 [...,G]."""
  count, place = (_last(x, codes.ndim + 1) for x in (levels, _places(levels)))
  half = count // 2
  digits = codes[..., None] // place % count  # [...] -> [...,G]
  return (digits - half).astype(jnp.float32) / half


def _last(values: Sequence[int] | np.ndarray, ndim: int) -> np.ndarray:
  """Returns int32 [G] with axes of 1 in front, `ndim` in all."""
  array = np.asarray(values, np.int32)
  return array.reshape((1,) * (ndim - 1) + array.shape)


def _places(levels: Sequence[int]) -> np.ndarray:
  """Returns the factor of each number in a code, int32 [G]; the first number changes fastest."""
  return np.cumprod([1, *levels[:-1]]).astype(np.int32)

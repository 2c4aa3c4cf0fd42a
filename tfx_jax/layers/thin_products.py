"""How weights lie for products of a few rows, which a step of decoding on a CPU is made of.

Which way they are fetched from memory faster depends on the processor's instructions: the figures
are in `docs/performance.md`.
"""

import functools
from typing import Any

import jax
from flax import struct

# Inputs from which on a kernel is turned; of one with fewer a CPU's caches hold enough.
_WIDE = 512
# Where Linux tells of the processors; elsewhere there is no such file.
_PROCESSORS = "/proc/cpuinfo"


@struct.dataclass
class Turned:
  """A kernel [inputs,outputs] that is kept the other way round.

  Attributes:
    values: [outputs,inputs].
  """

  values: jax.Array


def turned(params: Any) -> Any:
  """A layer's parameters; wide kernels are kept as [outputs,inputs] where that is faster."""
  if inputs_first():
    return params

  def one(path: tuple, x: jax.Array) -> jax.Array | Turned:
    wide = path[-1].key == "kernel" and x.ndim == 2 and x.shape[0] >= _WIDE
    return Turned(x.T) if wide else x

  return jax.tree.map_with_path(one, params)


def turned_back(params: Any) -> Any:
  """A layer's parameters before `turned`; in a program it is free, XLA's products read either."""

  def is_turned(x: Any) -> bool:
    return isinstance(x, Turned)

  return jax.tree.map(lambda x: x.values.T if is_turned(x) else x, params, is_leaf=is_turned)


@functools.cache
def inputs_first() -> bool:
  """Whether weights as [inputs,outputs] are the faster ones: on processors with AVX-512.

  Others take those of wide layers faster as [outputs,inputs].
  """
  try:
    with open(_PROCESSORS) as file:
      return "avx512f" in file.read()
  except OSError:
    return False

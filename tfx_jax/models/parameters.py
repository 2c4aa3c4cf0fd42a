"""Names and shapes of our models' parameters, and the example batch that shapes them."""

from collections.abc import Sequence

import numpy as np

MATRICES = ("kernel", "embedding")

# Rows and columns of the batch that parameters are shaped by; they depend on neither.
EXAMPLE = {
  name: np.zeros((1, 8), np.float32 if name == "weights" else np.int32)
  for name in (
    *("inputs", "inputs_segments", "inputs_positions"),
    *("decoder_inputs", "targets", "targets_segments", "targets_positions", "weights"),
  )
}


def input_axes(names: Sequence[str], ndim: int) -> int:
  """Returns the number of input axes of a layer's kernel [L,…] with this path and `ndim` axes.

  The heads of queries, keys and values are outputs; those of attention's last product are inputs.
  """
  return ndim - 2 if names[-2] == "out" else 1

"""Names and shapes of our models' parameters, and the example batch that shapes them."""

from collections.abc import Sequence

import numpy as np

MATRICES = ("kernel", "embedding")


def example_batch(
  source_shape: tuple[int, ...] = (), target_shape: tuple[int, ...] = ()
) -> dict[str, np.ndarray]:
  """Returns a batch to initialize parameters with; they do not depend on its rows and lengths.

  Args:
    source_shape: shape of one source element, () for tokens and (C,) for frames.
    target_shape: shape of one target element.
  """
  shape = (1, 8)
  numbers = ("inputs_segments", "inputs_positions", "targets_segments", "targets_positions")
  batch: dict[str, np.ndarray] = {name: np.zeros(shape, np.int32) for name in numbers}
  batch["weights"] = np.zeros(shape, np.float32)
  for name, element in (
    ("inputs", source_shape),
    ("decoder_inputs", target_shape),
    ("targets", target_shape),
  ):
    batch[name] = np.zeros(shape + element, np.float32 if element else np.int32)
  return batch


# The batch of a model of tokens.
EXAMPLE = example_batch()


def input_axes(names: Sequence[str], ndim: int) -> int:
  """Returns the number of input axes of a layer's kernel [L,…] with this path and `ndim` axes.

  The heads of queries, keys and values are outputs; those of attention's last product are inputs.
  """
  return ndim - 2 if names[-2] == "out" else 1

"""Values of the section `model` that have a structure."""

import math
from collections.abc import Sequence
from typing import Any

from tfx_jax.errors import UserError
from tfx_jax.layers.position import RotaryScaling

# Kinds of `model.rotary_scaling`, and how many numbers each has.
_SCALINGS = {"linear": 1, "llama3": 4}


def rotary_scaling(value: Sequence[Any]) -> RotaryScaling | None:
  """Returns the scaling of ("linear", FACTOR) or ("llama3", FACTOR, LOW, HIGH, LENGTH), or None.

  Raises:
    UserError: for another value.
  """
  if not isinstance(value, str) and not value:
    return None
  kind, *numbers = [value] if isinstance(value, str) else value
  are_positive = all(
    isinstance(x, int | float) and not isinstance(x, bool) and 0 < x < math.inf for x in numbers
  )
  if not isinstance(kind, str) or len(numbers) != _SCALINGS.get(kind) or not are_positive:
    raise UserError(
      f"model.rotary_scaling={value!r}: use ('linear', FACTOR) or "
      "('llama3', FACTOR, LOW, HIGH, LENGTH)"
    )
  return RotaryScaling(*map(float, numbers))


def windows(value: Sequence[int], num_layers: int) -> tuple[int, ...] | None:
  """Returns the attention window of each layer, given one for all or for each; None: no limits.

  Raises:
    UserError: for another value.
  """
  are_sizes = not isinstance(value, str) and all(
    isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**31 for size in value
  )
  if not are_sizes or len(value) not in (0, 1, num_layers):
    raise UserError(
      f"model.windows={value!r}: use a tuple of one number, or of one for each of the "
      f"{num_layers} decoder layers"
    )
  sizes = tuple(value) * num_layers if len(value) == 1 else tuple(value)
  return sizes if any(sizes) else None

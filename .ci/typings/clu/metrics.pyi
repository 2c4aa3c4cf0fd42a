"""What pyright knows of clu.metrics: its dataclasses have the fields that are written here."""

from typing import Self

import jax

class Metric:
  def merge(self, other: Self) -> Self: ...
  def compute(self) -> jax.Array: ...

class Average(Metric):
  total: jax.Array
  count: jax.Array
  def __init__(self, total: jax.Array, count: jax.Array) -> None: ...

class LastValue(Metric):
  value: jax.Array
  def __init__(self, *, value: jax.Array) -> None: ...

"""Reads the files of JSON lines that a run writes; damaged lines are ignored with a warning."""

import functools
import json
import math
import os
from collections.abc import Iterator

from absl import logging

from tfx_jax.common.json_object import JsonObject

# Maximum number of damaged lines that a warning names.
_NAMED = 5


def read_records(path: str) -> list[tuple[bytes, JsonObject | None]]:
  """Returns each line of a file and its record, which is a JSON object with a number `step`.

  The record of a damaged line is None, as is that of an incomplete last line; a warning names them.

  Args:
    path: path of the file; a missing file has no lines.

  Raises:
    OSError: if the file cannot be read.
  """
  if not os.path.exists(path):
    return []
  with open(path, "rb") as file:
    records = [(line, _record(line)) for line in file]
  damaged = [number for number, (_, record) in enumerate(records, 1) if record is None]
  if damaged:
    _warn(path, tuple(damaged))
  return records


def read_metrics(workdir: str) -> Iterator[JsonObject]:
  """Yields the lines of WORKDIR/metrics.jsonl, each with `step` and `split` (see `MetricsLog`).

  Raises:
    OSError: if the file cannot be read.
  """
  for _, record in read_records(os.path.join(workdir, "metrics.jsonl")):
    if record is not None and isinstance(record.get("split"), str):
      yield record


def is_number(value: object) -> bool:
  """Returns true for a finite number."""
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _record(line: bytes) -> JsonObject | None:
  try:
    record = json.loads(line.decode("utf-8"))
  except (ValueError, RecursionError):
    return None
  whole = line.endswith(b"\n") and isinstance(record, dict) and is_number(record.get("step"))
  return record if whole else None


@functools.lru_cache  # warn once, although the curves of a run are drawn repeatedly
def _warn(path: str, numbers: tuple[int, ...]) -> None:
  named = [*map(str, numbers[:_NAMED]), *["…"] * (len(numbers) > _NAMED)]
  logging.warning("%s: damaged lines are ignored: %s", path, ", ".join(named))

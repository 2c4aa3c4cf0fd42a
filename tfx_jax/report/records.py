"""Files of JSON lines that a run has written, read again; damaged lines are passed over."""

import functools
import json
import math
import os
from collections.abc import Iterator
from typing import Any

from absl import logging

# Most damaged lines that a warning names.
_NAMED = 5


def read_records(path: str) -> list[tuple[bytes, dict[str, Any] | None]]:
  """Reads every line of a file with the record in it: a JSON object with a number `step`.

  A line that holds no record has None, and so has a last one without an end; a warning names them.

  Args:
    path: of the file; one that does not exist has no lines.

  Raises:
    OSError: if it cannot be read.
  """
  if not os.path.exists(path):
    return []
  with open(path, "rb") as file:
    found = [(line, _record(line)) for line in file]
  damaged = [number for number, (_, record) in enumerate(found, 1) if record is None]
  if damaged:
    _warn(path, tuple(damaged))
  return found


def read_metrics(workdir: str) -> Iterator[dict[str, Any]]:
  """Yields the lines of WORKDIR/metrics.jsonl, each with `step` and `split` (see `MetricsLog`).

  Raises:
    OSError: if it cannot be read.
  """
  for _, record in read_records(os.path.join(workdir, "metrics.jsonl")):
    if record is not None and isinstance(record.get("split"), str):
      yield record


def is_number(value: Any) -> bool:
  """Whether a value of a record is a finite number."""
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _record(line: bytes) -> dict[str, Any] | None:
  try:
    record = json.loads(line.decode("utf-8"))
  except (ValueError, RecursionError):
    return None
  whole = line.endswith(b"\n") and isinstance(record, dict) and is_number(record.get("step"))
  return record if whole else None


@functools.lru_cache  # once, for the curves of a run are drawn again and again
def _warn(path: str, numbers: tuple[int, ...]) -> None:
  named = [*map(str, numbers[:_NAMED]), *["…"] * (len(numbers) > _NAMED)]
  logging.warning("%s: damaged lines are passed over: %s", path, ", ".join(named))

"""Figures on disk, a line of JSON for each time they are taken."""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any

from absl import logging

from tfx_jax.report.events import Events
from tfx_jax.report.writing import writing


class MetricsLog:
  """WORKDIR/metrics.jsonl, one JSON object a line, and the same in WORKDIR/tensorboard.

  A line holds `step`, `split` ('train', 'validation' or 'test') and the figures. A figure that is
  not finite is null, and `not_finite` says what it was: {"loss": null, "not_finite": {"loss":
  "nan"}}. Only one process of a run writes. Every method raises UserError where the disk is full
  or the workdir unwritable.
  """

  def __init__(self, workdir: str, resume_at: int | None = None) -> None:
    """Opens the log for appending.

    Args:
      workdir: made if missing.
      resume_at: byte offset to which the file is cut back, for the steps after it will be done
        again: what `flush` returned when the checkpoint was written, 0 to begin anew. A shorter
        file is kept as it is, with a warning. None cuts nothing but the half line a kill left.
    """
    self._workdir = workdir
    with writing(workdir):
      os.makedirs(workdir, exist_ok=True)
      path = os.path.join(workdir, "metrics.jsonl")
      with open(path, "a+b") as file:
        kept = _cut_back(file, resume_at)
      purge_step = None if resume_at is None else _step_after(kept)
      self._events = Events(os.path.join(workdir, "tensorboard"), purge_step)
      self._file = open(path, "ab")

  def write(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
    """Adds a line and, as SPLIT/NAME, TensorBoard scalars and texts.

    Args:
      step: of training.
      split: 'train', 'validation' or 'test'.
      figures: numbers (or arrays of one number) and strings by name.
    """
    values = {n: v.item() if hasattr(v, "item") else v for n, v in figures.items()}
    line: dict[str, Any] = {"step": int(step), "split": split}
    not_finite = {}
    for name, value in values.items():
      if isinstance(value, float) and not math.isfinite(value):
        not_finite[name], value = str(value), None
      line[name] = value
    if not_finite:
      line["not_finite"] = not_finite
    with writing(self._workdir):
      self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
      self._file.flush()
      self._events.write(int(step), {f"{split}/{name}": v for name, v in values.items()})

  def flush(self) -> int:
    """Forces all lines to disk; returns the byte offset of their end, for `resume_at`."""
    with writing(self._workdir):
      self._file.flush()
      os.fsync(self._file.fileno())
      self._events.flush()
      return self._file.tell()

  def close(self) -> None:
    """Flushes and closes; a second call does nothing."""
    if not self._file.closed:
      with writing(self._workdir), self._file, contextlib.closing(self._events):
        self.flush()


class NoLog:
  """What a process that does not write has for a log."""

  def write(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
    """Writes nothing."""

  def flush(self) -> int:
    """0, for there is nothing."""
    return 0

  def close(self) -> None:
    """Does nothing."""


def _cut_back(file: Any, size: int | None) -> bytes:
  """Truncates to the last whole line within `size` bytes; returns what is kept."""
  file.seek(0)
  content = file.read()
  if size is not None and len(content) < size:
    logging.warning("%s: %d bytes, %d when last saved", file.name, len(content), size)
  kept = content[:size]
  kept = kept[: kept.rfind(b"\n") + 1]
  if len(kept) < len(content):
    file.truncate(len(kept))
  return kept


def _step_after(lines: bytes) -> int | None:
  """Returns the step after that of the last line, 0 if there is none, None if it has no step."""
  try:
    return int(json.loads(lines.splitlines()[-1])["step"]) + 1 if lines else 0
  except (ValueError, KeyError, TypeError):
    return None

"""Log of a run's metrics: one line of JSON per report."""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from typing import IO, Any

from absl import logging

from tfx_jax.common.json_object import JsonObject
from tfx_jax.report.events import Events
from tfx_jax.report.writing import writing


class MetricsLog:
  """WORKDIR/metrics.jsonl, with one JSON object per line, and the same in WORKDIR/tensorboard.

  A line has `step`, `split` ('train', 'validation' or 'test') and the metrics. A metric that is not
  finite is null, and `not_finite` has its value as a string: {"loss": null, "not_finite": {"loss":
  "nan"}}. Only one process of a run writes. Every method raises UserError if the disk is full or
  the workdir cannot be written.
  """

  def __init__(self, workdir: str, resume_at: int | None = None) -> None:
    """Opens the log for appending.

    Args:
      workdir: working directory of the run; created if missing.
      resume_at: byte offset that the file is truncated to, because later steps will be repeated:
        the value that `flush` returned when the checkpoint was saved, or 0 for a new run. A shorter
        file is kept, with a warning. None removes only an incomplete last line, left by a kill.
    """
    self._workdir = workdir
    with writing(workdir):
      os.makedirs(workdir, exist_ok=True)
      path = os.path.join(workdir, "metrics.jsonl")
      with open(path, "a+b") as file:
        kept = _truncate(file, resume_at)
      purge_step = None if resume_at is None else _step_after(kept)
      self._events = Events(os.path.join(workdir, "tensorboard"), purge_step)
      self._file = open(path, "ab")

  def write(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
    """Writes a line and, with the tags SPLIT/NAME, TensorBoard scalars, texts and pictures.

    Pictures are those of the samples that were drawn at this step, see `write_samples`.

    Args:
      step: step of training.
      split: 'train', 'validation' or 'test'.
      metrics: numbers (or arrays of one number) and strings, by name.
    """
    values = {n: v.item() if hasattr(v, "item") else v for n, v in metrics.items()}
    line: JsonObject = {"step": int(step), "split": split}
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
      shown = {f"{split}/{name}": value for name, value in values.items()}
      drawn = os.path.join(self._workdir, "samples", f"{int(step)}-{split}.png")
      if os.path.exists(drawn):
        with open(drawn, "rb") as file:
          shown[f"{split}/samples"] = file.read()
      self._events.write(int(step), shown)

  def flush(self) -> int:
    """Flushes all lines to disk; returns the byte offset of their end, for `resume_at`."""
    with writing(self._workdir):
      self._file.flush()
      os.fsync(self._file.fileno())
      self._events.flush()
      return self._file.tell()

  def close(self) -> None:
    """Flushes and closes the files; a second call does nothing."""
    if not self._file.closed:
      with writing(self._workdir), self._file, contextlib.closing(self._events):
        self.flush()


class NoLog:
  """The log of a process that does not write."""

  def write(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
    """Does nothing."""

  def flush(self) -> int:
    """Returns 0."""
    return 0

  def close(self) -> None:
    """Does nothing."""


def _truncate(file: IO[bytes], size: int | None) -> bytes:
  """Truncates a file to the last whole line within `size` bytes; returns its new contents."""
  file.seek(0)
  content = file.read()
  if size is not None and len(content) < size:
    logging.warning(
      "%s has %d bytes, but had %d when the checkpoint was saved", file.name, len(content), size
    )
  kept = content[:size]
  kept = kept[: kept.rfind(b"\n") + 1]
  if len(kept) < len(content):
    file.truncate(len(kept))
  return kept


def _step_after(lines: bytes) -> int | None:
  """Returns the step after the last line's, 0 without lines, None if that line has no step."""
  try:
    return int(json.loads(lines.splitlines()[-1])["step"]) + 1 if lines else 0
  except (ValueError, KeyError, TypeError):
    return None

"""Metrics of training steps: fetched while the next step runs, summed and logged."""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence

import jax
from absl import logging

from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.tree import Tree
from tfx_jax.common.whole_file import write_whole
from tfx_jax.data.loader import Position
from tfx_jax.errors import UserError
from tfx_jax.report.metrics_log import MetricsLog, NoLog
from tfx_jax.report.progress import Progress
from tfx_jax.report.records import read_records

SKIPPED = "skipped.jsonl"


@dataclasses.dataclass
class Counters:
  """Progress of a run besides its state, saved with every checkpoint.

  Attributes:
    position: position of the next batch in the data.
    evaluated: the last step that was validated.
    best_step: the step with the best validation so far.
    best_value: its metric.
    worse: number of validations since then.
    finite: whether the last validation's metric was finite.
    window: sums since the last line of the log: loss, objective and their weight.
    skipped: number of steps skipped since then.
    skipped_in_a_row: number of latest steps that were all skipped.
    log_bytes: length of the metrics log.
    stopped_early: whether training ended because validations did not get better.
    seconds: wall time so far, over all sessions, with validation and compilation.
  """

  position: Position = dataclasses.field(default_factory=Position)
  evaluated: int = 0
  best_step: int | None = None
  best_value: float | None = None
  worse: int = 0
  finite: bool = True
  window: tuple[float, float, float] = (0.0, 0.0, 0.0)
  skipped: int = 0
  skipped_in_a_row: int = 0
  log_bytes: int = 0
  stopped_early: bool = False
  seconds: float = 0.0

  @classmethod
  def from_saved(cls, saved: JsonObject) -> "Counters":
    """Returns the counters saved with a checkpoint.

    Keys of other versions are ignored with a warning, missing ones have their defaults.
    """
    known = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(saved.keys() - known):
      logging.warning("ignored in the checkpoint, of another version: %s", ", ".join(unknown))
    return cls(**{key: value for key, value in saved.items() if key in known})


class Recorder:
  """Fetches each step's metrics one step late, while the next one runs, and logs them.

  For the speed, a step ends when it is added if it has run by then (as on a CPU), otherwise when
  its metrics arrive.

  Args:
    log: the metrics log.
    skipped: the log of skipped steps.
    progress: the progress line.
    counters: updated here.
    every: steps between lines of the log.
  """

  def __init__(
    self,
    log: MetricsLog | NoLog,
    skipped: "SkippedLog",
    progress: Progress,
    counters: Counters,
    every: int,
  ):
    self._log, self._skipped, self._progress = log, skipped, progress
    self._counters, self._every = counters, every
    self._pending: tuple[int, Position, Mapping[str, Tree], float | None] | None = None
    # Time and tokens since the last line, without the first step of a session, which compiles.
    self._clock: float | None = None
    self._elapsed = self._tokens = 0.0

  def add(self, step: int, position: Position, metrics: Mapping[str, Tree]) -> None:
    """Adds the metrics of the step just started, and fetches those of the step before."""
    self.flush()
    ended = time.perf_counter() if metrics["loss"].total.is_ready() else None
    self._pending = step, position, metrics, ended

  def restart_clock(self) -> None:
    """Excludes the time since the last step from the speed."""
    self._clock = time.perf_counter() if self._clock is not None else None

  def flush(self) -> None:
    """Fetches the metrics that have not been fetched."""
    if self._pending is None:
      return
    step, position, metrics, ended = self._pending
    self._pending = None
    metrics = jax.device_get(metrics)
    loss, weight = float(metrics["loss"].total), float(metrics["loss"].count)
    now = time.perf_counter() if ended is None else ended
    if self._clock is not None:
      self._tokens += weight
      self._elapsed += now - self._clock
    self._clock = now
    speed = {"tokens_per_second": self._tokens / self._elapsed} if self._tokens else {}
    rate = float(metrics["learning_rate"].value)
    shown = {"learning_rate": rate, **speed}
    if metrics["skipped"].value:
      self._counters.skipped += 1
      self._counters.skipped_in_a_row += 1
      self._skipped.write(step, position, loss, float(metrics["grad_norm"].value))
    else:
      self._counters.skipped_in_a_row = 0
      old, objective = self._counters.window, float(metrics["objective"].total)
      self._counters.window = (old[0] + loss, old[1] + objective, old[2] + weight)
      shown["loss"] = loss / weight
    self._progress.update(step, shown)
    if step % self._every == 0:
      self._write(step, metrics, rate, speed)

  def _write(
    self, step: int, metrics: Mapping[str, Tree], rate: float, speed: Mapping[str, float]
  ) -> None:
    loss, objective, weight = self._counters.window
    line = {
      "loss": loss / weight if weight else float("nan"),
      "objective": objective / weight if weight else float("nan"),
      "learning_rate": rate,
      "grad_norm": float(metrics["grad_norm"].value),
      "tokens": weight,
      "skipped": self._counters.skipped,
      **speed,
    }
    self._log.write(step, "train", line)
    self._counters.window = (0.0, 0.0, 0.0)
    self._counters.skipped = 0
    self._tokens = self._elapsed = 0.0


class SkippedLog:
  """WORKDIR/skipped.jsonl: the loss, gradient norm and examples of each skipped step.

  Args:
    workdir: the run's folder.
    step: the step that training resumes from; lines of later steps are removed.
    examples: returns the numbers of the examples in the batch at a position.

  Raises:
    UserError: if it cannot be written.
  """

  def __init__(self, workdir: str, step: int, examples: Callable[[Position], Sequence[int]]):
    self._workdir, self._examples = workdir, examples
    self._path = os.path.join(workdir, SKIPPED)
    self._writes = jax.process_index() == 0
    try:
      if self._writes and os.path.exists(self._path):
        self._cut_back(step)
    except OSError as error:
      raise self._error(error) from error

  def write(self, step: int, position: Position, loss: float, grad_norm: float) -> None:
    """Adds a line.

    Args:
      step: the skipped step.
      position: position of its batch.
      loss: sum over the batch; it or another metric is not finite.
      grad_norm: norm of the gradient.
    """
    if not self._writes:
      return
    line = {
      "step": step,
      "position": list(position),
      "loss": str(loss),
      "grad_norm": str(grad_norm),
      "examples": list(map(int, self._examples(Position(*position)))),
    }
    try:
      with open(self._path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    except OSError as error:
      raise self._error(error) from error

  def _cut_back(self, step: int) -> None:
    # A damaged line is kept, since its step may be an earlier one; a line cut off by a kill is not.
    kept = [
      line
      for line, record in read_records(self._path)
      if line.endswith(b"\n") and (record is None or record["step"] <= step)
    ]
    write_whole(self._path, b"".join(kept))

  def _error(self, error: OSError) -> UserError:
    return UserError(f"cannot write to workdir {self._workdir}: {error.strerror}")

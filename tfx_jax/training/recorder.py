"""What a training step tells: fetched while the next one runs, summed up, written down."""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from tfx_jax.common.whole_file import write_whole
from tfx_jax.data.loader import Position
from tfx_jax.errors import UserError
from tfx_jax.report.metrics_log import MetricsLog
from tfx_jax.report.progress import Progress
from tfx_jax.report.records import read_records

SKIPPED = "skipped.jsonl"


@dataclasses.dataclass
class Counters:
  """What a run must remember besides its state, saved with every checkpoint.

  Attributes:
    position: of the data, the next batch's.
    evaluated: the last step that was validated.
    best_step: the step with the best validation so far.
    best_value: its value.
    worse: validations since.
    finite: whether the last validation's value was finite.
    window: sums of the loss and their weight since the last line of the log.
    skipped: steps since then that were skipped.
    skipped_in_a_row: the last steps that were, without one between them that was not.
    log_bytes: length of the metrics log.
    stopped_early: whether training ended because validations no longer got better.
    seconds: of wall time so far, in all sessions, validations and compiling included.
  """

  position: tuple[int, int] = Position()
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


class Recorder:
  """Fetches each step's figures one step late, while the next one runs, and writes them down.

  Where a step has ended when it is returned, as on a CPU it may, that is when it ended; else it
  ends when its figures are there.

  Args:
    log: of the metrics.
    skipped: of the steps that were skipped.
    progress: shown.
    counters: kept up to date.
    every: steps from a line of the log to the next.
  """

  def __init__(
    self,
    log: MetricsLog,
    skipped: "SkippedLog",
    progress: Progress,
    counters: Counters,
    every: int,
  ):
    self._log, self._skipped, self._progress = log, skipped, progress
    self._counters, self._every = counters, every
    self._pending: tuple[int, Position, Mapping[str, Any], float | None] | None = None
    # Time and tokens since the last line, the compiling first step of a session left out.
    self._clock: float | None = None
    self._elapsed = self._tokens = 0.0

  def add(self, step: int, position: Position, figures: Mapping[str, Any]) -> None:
    """Takes the figures of the step just started, and fetches those of the step before."""
    self.flush()
    ended = time.perf_counter() if figures["loss"].total.is_ready() else None
    self._pending = step, position, figures, ended

  def restart_clock(self) -> None:
    """Leaves what happened since the last step out of the speed."""
    self._clock = time.perf_counter() if self._clock is not None else None

  def flush(self) -> None:
    """Fetches the figures that have not been fetched."""
    if self._pending is None:
      return
    step, position, figures, ended = self._pending
    self._pending = None
    figures = jax.device_get(figures)
    loss, weight = float(figures["loss"].total), float(figures["loss"].count)
    now = time.perf_counter() if ended is None else ended
    if self._clock is not None:
      self._tokens += weight
      self._elapsed += now - self._clock
    self._clock = now
    speed = {"tokens_per_second": self._tokens / self._elapsed} if self._tokens else {}
    rate = float(figures["learning_rate"].value)
    shown = {"learning_rate": rate, **speed}
    if figures["skipped"].value:
      self._counters.skipped += 1
      self._counters.skipped_in_a_row += 1
      self._skipped.write(step, position, loss, float(figures["grad_norm"].value))
    else:
      self._counters.skipped_in_a_row = 0
      old, objective = self._counters.window, float(figures["objective"].total)
      self._counters.window = (old[0] + loss, old[1] + objective, old[2] + weight)
      shown["loss"] = loss / weight
    self._progress.update(step, shown)
    if step % self._every == 0:
      self._write(step, figures, rate, speed)

  def _write(
    self, step: int, figures: Mapping[str, Any], rate: float, speed: Mapping[str, float]
  ) -> None:
    loss, objective, weight = self._counters.window
    line = {
      "loss": loss / weight if weight else float("nan"),
      "objective": objective / weight if weight else float("nan"),
      "learning_rate": rate,
      "grad_norm": float(figures["grad_norm"].value),
      "tokens": weight,
      "skipped": self._counters.skipped,
      **speed,
    }
    self._log.write(step, "train", line)
    self._counters.window = (0.0, 0.0, 0.0)
    self._counters.skipped = 0
    self._tokens = self._elapsed = 0.0


class SkippedLog:
  """WORKDIR/skipped.jsonl: for each step that was skipped, what it was given and what came of it.

  Args:
    workdir: of the run.
    step: from which training goes on; what is there of later ones is taken out.
    examples: the numbers of the examples of the batch at a position.

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
      step: that was skipped.
      position: of its batch.
      loss: summed over the batch; one of the figures is not finite.
      grad_norm: of the gradient.
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
    # A damaged line stays, for it may be of an earlier step; one that a kill cut off does not.
    kept = [
      line
      for line, record in read_records(self._path)
      if line.endswith(b"\n") and (record is None or record["step"] <= step)
    ]
    write_whole(self._path, b"".join(kept))

  def _error(self, error: OSError) -> UserError:
    return UserError(f"cannot write to workdir {self._workdir}: {error.strerror}")

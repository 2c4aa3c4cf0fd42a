"""The training loop: update, log, validate, save, stop; and go on exactly where it was."""

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from tfx_jax.data.loader import Loader, Position
from tfx_jax.errors import UserError
from tfx_jax.metrics.perplexity import LOSS_FIGURES
from tfx_jax.parallel import Parallel
from tfx_jax.processes import is_first
from tfx_jax.report import MetricsLog, Progress
from tfx_jax.training.checkpoint import Checkpoints
from tfx_jax.training.state import TrainState

Validate = Callable[[Any, int, bool, Callable[[], None]], dict[str, float | str]]


class Stopped(Exception):
  """Raised inside a validation when the run has been asked to stop."""


@dataclasses.dataclass
class Counters:
  """What a run must remember besides its state, saved with every checkpoint.

  Attributes:
    position: of the data, the next batch's.
    evaluated: the last step that was validated.
    best_step: the step with the best validation so far.
    best_value: its value.
    worse: validations since.
    window: sums of the loss and their weight since the last line of the log.
    log_bytes: length of the metrics log.
    stopped_early: whether training ended because validations no longer got better.
    seconds: of wall time so far, in all sessions, validations and compiling included.
  """

  position: tuple[int, int] = Position()
  evaluated: int = 0
  best_step: int | None = None
  best_value: float | None = None
  worse: int = 0
  window: tuple[float, float, float] = (0.0, 0.0, 0.0)
  log_bytes: int = 0
  stopped_early: bool = False
  seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Timetable:
  """When things happen, in steps; 0 means never, but the last step is validated and saved.

  Attributes:
    num_steps: of the run.
    log_every: a line of training figures.
    eval_every: validation by loss.
    decode_every: validation by loss and by decoded text.
    checkpoint_every: a checkpoint; a best validation makes one too.
    best_metric: the figure of a validation that decides which is best.
    patience: validations without a better one after which training ends; 0: never.
  """

  num_steps: int
  log_every: int
  eval_every: int
  decode_every: int
  checkpoint_every: int
  best_metric: str
  patience: int

  def due(self, every: int, step: int) -> bool:
    """Whether what happens every so many steps happens at `step`."""
    return step > 0 and (step == self.num_steps or (every > 0 and step % every == 0))


def train(
  *,
  state: TrainState,
  counters: Counters,
  train_step: Callable,
  loader: Loader,
  parallel: Parallel,
  checkpoints: Checkpoints,
  log: MetricsLog,
  validate: Validate,
  timetable: Timetable,
) -> tuple[TrainState, Counters, int]:
  """Trains until the last step, early stop, or a signal.

  Args:
    state: to start from; donated.
    counters: that belong to it.
    train_step: (state, batch) -> (state, figures), jitted.
    loader: of the training data.
    parallel: the mesh.
    checkpoints: where to save.
    log: of the metrics, cut back to `counters.log_bytes`.
    validate: (params, step, whether to decode, a function to call between batches) -> figures.
    timetable: when what happens.

  Returns:
    the state, its counters, and the number of the signal that stopped it, or 0.

  Raises:
    UserError: if the loss is no longer finite, or something cannot be written.
  """
  step = int(state.step)
  progress = Progress(timetable.num_steps, step, shown=is_first())
  recorder = _Recorder(log, progress, counters, timetable.log_every)
  began = time.perf_counter() - counters.seconds

  def save() -> None:
    recorder.flush()
    counters.log_bytes = log.flush()
    counters.seconds = time.perf_counter() - began
    if checkpoints.latest() != step:
      checkpoints.save(state, dataclasses.asdict(counters))

  with _signals() as caught, _prefetch(loader, counters.position) as next_batch:

    def between_batches() -> None:
      # The last validation is finished: its result belongs to the last checkpoint.
      if caught and step < timetable.num_steps:
        raise Stopped

    while True:
      best = False
      decode = timetable.due(timetable.decode_every, step)
      if counters.evaluated < step and (decode or timetable.due(timetable.eval_every, step)):
        recorder.flush()
        try:
          figures = validate(state.eval_params, step, decode, between_batches)
        except Stopped:
          save()
          break
        log.write(step, "validation", figures)
        progress.message(_line(step, figures))
        best = _judge(counters, step, figures.get(timetable.best_metric), timetable)
        recorder.restart_clock()
      finished = step >= timetable.num_steps or counters.stopped_early
      if best or caught or finished or timetable.due(timetable.checkpoint_every, step):
        save()
        recorder.restart_clock()
      if caught or finished:
        break
      batch, counters.position = next_batch()
      state, figures = train_step(state, parallel.place(batch))
      step += 1
      recorder.add(step, figures)
  checkpoints.wait()
  progress.close()
  return state, counters, caught[0] if caught else 0


def _judge(counters: Counters, step: int, value: Any, timetable: Timetable) -> bool:
  """Updates the counters by a validation's figure, if it has it; returns whether it is best."""
  counters.evaluated = step
  if value is None:
    return False
  lower_is_better = timetable.best_metric in LOSS_FIGURES
  best = counters.best_value
  if best is None or (value < best if lower_is_better else value > best):
    counters.best_step, counters.best_value, counters.worse = step, float(value), 0
    return True
  counters.worse += 1
  counters.stopped_early = 0 < timetable.patience <= counters.worse
  return False


class _Recorder:
  """Fetches each step's figures one step late, while the next one runs, and writes them down."""

  def __init__(self, log: MetricsLog, progress: Progress, counters: Counters, every: int):
    self._log, self._progress, self._counters, self._every = log, progress, counters, every
    self._pending: tuple[int, Mapping[str, Any]] | None = None
    # Time and tokens since the last line, the compiling first step of a session left out.
    self._clock: float | None = None
    self._elapsed = self._tokens = 0.0

  def add(self, step: int, figures: Mapping[str, Any]) -> None:
    """Takes the figures of the step just started, and fetches those of the step before."""
    self.flush()
    self._pending = step, figures

  def restart_clock(self) -> None:
    """Leaves what happened since the last step out of the speed."""
    self._clock = time.perf_counter() if self._clock is not None else None

  def flush(self) -> None:
    """Fetches the figures that have not been fetched."""
    if self._pending is None:
      return
    step, figures = self._pending
    self._pending = None
    figures = jax.device_get(figures)
    loss, weight = float(figures["loss"].total), float(figures["loss"].count)
    gradient = float(figures["grad_norm"].value)
    if not math.isfinite(loss) or not math.isfinite(gradient):
      self._progress.close()
      raise UserError(
        f"the loss is {loss} and its gradient's norm {gradient} at step {step}: try a lower "
        "optimizer.learning_rate or more optimizer.warmup_steps; the checkpoints before are kept"
      )
    old = self._counters.window
    objective = float(figures["objective"].total)
    self._counters.window = (old[0] + loss, old[1] + objective, old[2] + weight)
    now = time.perf_counter()
    if self._clock is not None:
      self._tokens += weight
      self._elapsed += now - self._clock
    self._clock = now
    speed = {"tokens_per_second": self._tokens / self._elapsed} if self._tokens else {}
    rate = float(figures["learning_rate"].value)
    self._progress.update(step, {"loss": loss / weight, "learning_rate": rate, **speed})
    if step % self._every == 0:
      self._write(step, figures, rate, speed)

  def _write(
    self, step: int, figures: Mapping[str, Any], rate: float, speed: Mapping[str, float]
  ) -> None:
    loss, objective, weight = self._counters.window
    line = {
      "loss": loss / weight,
      "objective": objective / weight,
      "learning_rate": rate,
      "grad_norm": float(figures["grad_norm"].value),
      "tokens": weight,
      **speed,
    }
    self._log.write(step, "train", line)
    self._counters.window = (0.0, 0.0, 0.0)
    self._tokens = self._elapsed = 0.0


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
  """Catches SIGINT and SIGTERM into a list; a second one ends the process at once."""
  caught: list[int] = []

  def handle(number: int, frame: Any) -> None:
    caught.append(number)
    for name, handler in before.items():
      signal.signal(name, handler)

  try:
    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
  except ValueError:  # not the main thread, as in some notebooks
    before = {}
  try:
    yield caught
  finally:
    for name, handler in before.items():
      signal.signal(name, handler)


@contextlib.contextmanager
def _prefetch(loader: Loader, position: Position) -> Iterator[Callable]:
  """A function that returns the next batch and the position after it, made one batch ahead."""
  with ThreadPoolExecutor(1) as executor:
    future = executor.submit(loader.batch, Position(*position))

    def next_batch() -> tuple[dict, Position]:
      nonlocal future
      batch, position = future.result()
      future = executor.submit(loader.batch, position)
      return batch, position

    yield next_batch


def _line(step: int, figures: Mapping[str, float | str]) -> str:
  numbers = (f"{name} {value:.4g}" for name, value in figures.items() if not isinstance(value, str))
  return f"step {step:,}: validation {', '.join(numbers)}"

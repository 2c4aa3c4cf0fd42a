"""The training loop: update, log, validate, save, stop, and resume exactly where it was."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from tfx_jax.common.heartbeat import beat
from tfx_jax.data.loader import Loader, Position
from tfx_jax.data.packing import Arrays
from tfx_jax.errors import UserError
from tfx_jax.metrics.perplexity import LOSS_METRICS
from tfx_jax.models.model import Params
from tfx_jax.parallel import Parallel
from tfx_jax.report.metrics_log import MetricsLog, NoLog
from tfx_jax.report.progress import Progress
from tfx_jax.runtime.allocator import give_back_free_memory
from tfx_jax.runtime.processes import is_first
from tfx_jax.runtime.signals import caught_signals
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from tfx_jax.training.intervals import Intervals
from tfx_jax.training.recorder import SKIPPED, Counters, Recorder, SkippedLog
from tfx_jax.training.state import TrainState

Validate = Callable[[Params, int, bool, Callable[[], None]], dict[str, float | str]]


class Stopped(Exception):
  """Raised inside a validation when the run has been asked to stop."""


def train(
  *,
  state: TrainState,
  counters: Counters,
  train_step: Callable,
  loader: Loader,
  parallel: Parallel,
  checkpoints: Checkpoints,
  log: MetricsLog | NoLog,
  skipped: SkippedLog,
  validate: Validate,
  intervals: Intervals,
) -> tuple[TrainState, Counters, int]:
  """Trains until the last step, early stop, or a signal.

  Args:
    state: the state to start from; donated.
    counters: its counters.
    train_step: (state, batch) -> (state, metrics), jitted.
    loader: the training data.
    parallel: the mesh.
    checkpoints: the folder to save in.
    log: the metrics log, cut back to `counters.log_bytes`.
    skipped: the log of skipped steps, cut back to the state's step.
    validate: (params, step, whether to decode, a function to call between batches) -> metrics.
    intervals: the steps at which to log, validate and save.

  Returns:
    the state, its counters, and the number of the signal that stopped it, or 0.

  Raises:
    UserError: if too many steps in a row had to be skipped, or something cannot be written.
  """
  step = int(state.step)
  progress = Progress(intervals.num_steps, step, shown=is_first())
  recorder = Recorder(log, skipped, progress, counters, intervals.log_every)
  started = time.perf_counter() - counters.seconds

  def save() -> None:
    recorder.flush()
    counters.log_bytes = log.flush()
    counters.seconds = time.perf_counter() - started
    if checkpoints.latest() != step:
      checkpoints.save(state, dataclasses.asdict(counters))

  with caught_signals() as stop_at, _prefetch(loader, Position(*counters.position)) as next_batch:

    def between_batches() -> None:
      beat()
      # The last validation is finished: its result belongs to the last checkpoint.
      if stop_at(step) and step < intervals.num_steps:
        raise Stopped

    validated = set[bool]()  # with and without decoding, each of which compiles programs
    while True:
      best = False
      decode = intervals.due(intervals.decode_every, step)
      if counters.evaluated < step and (decode or intervals.due(intervals.eval_every, step)):
        recorder.flush()
        if decode not in validated:
          validated.add(decode)
          progress.message(f"step {step:,}: compiling {'decoding and ' * decode}validation")
        try:
          metrics = validate(state.eval_params, step, decode, between_batches)
        except Stopped:
          caught = stop_at(step)
          save()
          break
        log.write(step, "validation", metrics)
        progress.message(_line(step, metrics))
        value = metrics.get(intervals.best_metric)
        best = _judge(counters, step, value, intervals)
        if value is not None and not counters.finite:
          progress.message(f"step {step:,}: not the best, since {intervals.best_metric} is {value}")
        give_back_free_memory()
        recorder.restart_clock()
      caught = stop_at(step)
      finished = step >= intervals.num_steps or counters.stopped_early
      hopeless = counters.skipped_in_a_row > intervals.max_skipped_steps
      due = intervals.due(intervals.checkpoint_every, step)
      if best or caught or finished or hopeless or due:
        save()
        recorder.restart_clock()
      if hopeless:
        checkpoints.wait()
        progress.close()
        raise UserError(_hopeless(counters, step))
      if caught or finished:
        break
      position = Position(*counters.position)
      batch, counters.position = next_batch()
      state, metrics = train_step(state, parallel.place(batch))
      step += 1
      recorder.add(step, position, metrics)
      beat()
  checkpoints.wait()
  progress.close()
  return state, counters, caught


def _judge(counters: Counters, step: int, value: float | str | None, intervals: Intervals) -> bool:
  """Updates the counters with a validation's metric, if there is one; returns whether it is best.

  A value that is not finite is worse than any other.
  """
  counters.evaluated = step
  if value is None or isinstance(value, str):
    return False
  lower_is_better = intervals.best_metric in LOSS_METRICS
  best = counters.best_value
  counters.finite = math.isfinite(value)
  if best is None or not math.isfinite(best):
    is_better = True
  else:
    is_better = value < best if lower_is_better else value > best
  if counters.finite and is_better:
    counters.best_step, counters.best_value, counters.worse = step, float(value), 0
    return True
  counters.worse += 1
  counters.stopped_early = 0 < intervals.patience <= counters.worse
  return False


@contextlib.contextmanager
def _prefetch(loader: Loader, position: Position) -> Iterator[Callable]:
  """Yields a function that returns the next batch and the position after it, loaded in advance."""
  with ThreadPoolExecutor(1) as executor:
    future = executor.submit(loader.batch, position)

    def next_batch() -> tuple[Arrays, Position]:
      nonlocal future
      batch, position = future.result()
      future = executor.submit(loader.batch, position)
      return batch, position

    yield next_batch


def _line(step: int, metrics: Mapping[str, float | str]) -> str:
  numbers = (f"{name} {value:.4g}" for name, value in metrics.items() if not isinstance(value, str))
  return f"step {step:,}: validation {', '.join(numbers)}"


def _hopeless(counters: Counters, step: int) -> str:
  return (
    f"{counters.skipped_in_a_row} steps in a row were skipped, their loss, gradient or update not "
    f"finite: the last good state is saved as step {step:,}, and {SKIPPED} names the examples; try "
    "a lower optimizer.learning_rate or more optimizer.warmup_steps, or raise "
    "train.max_skipped_steps to continue"
  )

"""Runs the training command and measures its loop from outside.

    python benchmarks/watched.py STEPS --config=experiments/multi30k.py --workdir=DIR …

The arguments after STEPS are those of `tfx_jax.main`. The run is left after that number of steps,
before later validations and saves. Prints one JSON line:

- `first_step_seconds`: time from the start of the process to the end of the first step;
- `compilations`: number of compilations of the training step; it is an error if that is not 1;
- `compilations_later`: number of compilations of anything after the first step;
- `step_seconds`, the mean from the second step on, and `target_tokens_per_second`;
- `waiting_share`: share of that time spent waiting for the next batch. The device was idle for lack
  of input at most that long, since it may still have been computing the previous step;
- `loader_share`: share of processor seconds spent on making batches.
"""

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

_BEGIN = time.perf_counter()
_COMPILED = "/jax/core/compile/backend_compile_duration"


class Enough(BaseException):
  """Raised to leave the loop; no code in between catches it."""


def since_process_start() -> float:
  """Returns the seconds since the process started or, if unknown, since this import."""
  try:
    with open("/proc/self/stat") as file:
      started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    with open("/proc/uptime") as file:
      return float(file.read().split()[0]) - started
  except OSError:
    return time.perf_counter() - _BEGIN


class Watch:
  """Measurements of a loop that is left after `steps` steps."""

  def __init__(self, steps: int):
    self.steps = steps
    self.done = self.compiled = self.compiled_first = self.compilations = 0
    self.first = self.begin = self.processor = self.end = self.processor_end = 0.0
    self.waits: list[float] = []
    self.loading: list[float] = []
    self.tokens: list[float] = []

  def step(self, train_step: Callable, state: Any, batch: Any) -> tuple:
    """Runs a training step and, for the first and the last, waits until it has ended."""
    import jax

    if self.done == self.steps:
      raise Enough
    out = train_step(state, batch)
    self.done += 1
    self.compilations = train_step.jitted._cache_size()
    if self.done == 1:
      jax.block_until_ready(out)
      self.first, self.compiled_first = since_process_start(), self.compiled
      self.waits.clear()
      self.loading.clear()
      self.begin, self.processor = time.perf_counter(), time.process_time()
    else:
      self.tokens.append(out[1]["loss"].count)
    if self.done == self.steps:
      jax.block_until_ready(out)
      self.end, self.processor_end = time.perf_counter(), time.process_time()
    return out

  @contextlib.contextmanager
  def prefetch(self, original: Callable, loader: Any, position: Any) -> Iterator[Callable]:
    """Wraps the loop's own function to measure the time until it returns a batch."""
    make = loader.batch

    def batch(position: Any) -> Any:
      begin = time.thread_time()
      made = make(position)
      self.loading.append(time.thread_time() - begin)
      return made

    loader.batch = batch
    with original(loader, position) as next_batch:

      def timed() -> Any:
        begin = time.perf_counter()
        got = next_batch()
        if self.done < self.steps:
          self.waits.append(time.perf_counter() - begin)
        return got

      yield timed

  def results(self) -> dict[str, Any]:
    """Returns all measurements; see the module's docstring."""
    assert self.done == self.steps, f"the run ended after {self.done} of {self.steps} steps"
    assert self.compilations == 1, f"the training step was compiled {self.compilations} times"
    results = {
      "steps": self.steps,
      "first_step_seconds": round(self.first, 2),
      "compilations": self.compilations,
      "compilations_later": self.compiled - self.compiled_first,
    }
    if self.steps > 1:
      taken, processor = self.end - self.begin, self.processor_end - self.processor
      results |= {
        "step_seconds": taken / (self.steps - 1),
        "target_tokens_per_second": round(float(sum(self.tokens)) / taken, 1),
        "waiting_share": round(sum(self.waits) / taken, 5),
        "loader_share": round(sum(self.loading) / processor, 5),
        "processor_seconds": round(processor, 2),
      }
    return results


def main(steps: int, arguments: list[str]) -> dict[str, Any]:
  """Runs `tfx_jax.main` for a number of steps."""
  from tfx_jax.cli import program

  # As `python -m tfx_jax.main` does, JAX is imported after options and files have been read.
  watch = Watch(steps)
  read_job = program.read_job

  def watched(options: Any) -> Any:
    job = read_job(options)
    import jax

    from tfx_jax.cli import train
    from tfx_jax.training import loop

    def count(name: str, *_: Any, **__: Any) -> None:
      watch.compiled += name == _COMPILED

    jax.monitoring.register_event_duration_secs_listener(count)
    loop._prefetch = functools.partial(watch.prefetch, loop._prefetch)
    train_loop = train.train_loop

    def left(train_step: Callable, **parts: Any) -> Any:
      return train_loop(train_step=functools.partial(watch.step, train_step), **parts)

    train.train_loop = left
    return job

  program.read_job = watched
  with contextlib.suppress(Enough):
    program.main(arguments)
  return watch.results()


if __name__ == "__main__":
  results = main(int(sys.argv[1]), sys.argv[2:])
  print(json.dumps(results), flush=True)
  # The save or the batch in progress is not needed.
  os._exit(0)

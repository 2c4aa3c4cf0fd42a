"""Signals that ask a run to stop: noticed between steps, and anywhere else at once."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any


class Terminated(BaseException):
  """Raised by SIGTERM, as KeyboardInterrupt is by SIGINT."""


@contextlib.contextmanager
def raising_terminated() -> Iterator[None]:
  """Within this, SIGTERM raises Terminated as soon as Python code runs again."""

  def handle(number: int, frame: Any) -> None:
    raise Terminated

  with _handling(handle, signal.SIGTERM):
    yield


@contextlib.contextmanager
def caught_signals() -> Iterator[Callable[[int], int]]:
  """Within this, SIGINT and SIGTERM are only noted; a second one does what it did before.

  Yields a function that is called with the number of each step, and returns the signal that asks
  to stop there, or 0. Of several processes all stop at the same step, by JAX's own agreement, for
  a signal may come to one of them only: JAX takes SIGTERM over when they are connected, and SIGINT
  is taken for one.
  """
  from jax.experimental import multihost_utils

  from tfx_jax.runtime.processes import several

  if several():
    with _handling(lambda *_: os.kill(os.getpid(), signal.SIGTERM), signal.SIGINT):
      yield lambda step: signal.SIGTERM * multihost_utils.reached_preemption_sync_point(step)
    return
  caught: list[int] = []
  with contextlib.ExitStack() as handlers:

    def handle(number: int, frame: Any) -> None:
      caught.append(number)
      handlers.close()

    handlers.enter_context(_handling(handle, signal.SIGINT, signal.SIGTERM))
    yield lambda step: caught[0] if caught else 0


def is_of_another_process(error: Exception) -> bool:
  """Whether an error may mean that another process of the run has died.

  What devices say of that differs: of several processes, any error that is theirs is taken for it.
  """
  jax = sys.modules.get("jax")
  theirs = jax is not None and isinstance(error, jax.errors.JaxRuntimeError)
  return theirs and jax.process_count() > 1


@contextlib.contextmanager
def _handling(handler: Callable[[int, Any], None], *numbers: int) -> Iterator[None]:
  try:
    before = {number: signal.signal(number, handler) for number in numbers}
  except ValueError:  # not the main thread, as in some notebooks
    before = {}
  try:
    yield
  finally:
    for number, old in before.items():
      signal.signal(number, old)

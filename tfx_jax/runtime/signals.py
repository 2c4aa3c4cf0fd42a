"""Signals that ask a run to stop: handled between training steps, elsewhere immediately."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType


class Terminated(BaseException):
  """Raised by SIGTERM, as KeyboardInterrupt is by SIGINT."""


@contextlib.contextmanager
def raising_terminated() -> Iterator[None]:
  """Makes SIGTERM raise Terminated, in a `with` block, as soon as Python code runs again."""

  def handle(number: int, frame: FrameType | None) -> None:
    raise Terminated

  with _handling(handle, signal.SIGTERM):
    yield


@contextlib.contextmanager
def caught_signals() -> Iterator[Callable[[int], int]]:
  """Records SIGINT and SIGTERM in a `with` block; a second signal is handled as before it.

  Several processes stop at the same step, which JAX agrees on, since a signal may reach only one of
  them. JAX handles SIGTERM itself when processes are connected, and SIGINT is forwarded as SIGTERM.

  Yields:
    a function of the number of each step that returns the signal that asks to stop there, or 0.
  """
  from jax.experimental import multihost_utils

  from tfx_jax.runtime.processes import several

  if several():
    with _handling(lambda *_: os.kill(os.getpid(), signal.SIGTERM), signal.SIGINT):
      yield lambda step: signal.SIGTERM * multihost_utils.reached_preemption_sync_point(step)
    return
  caught: list[int] = []
  with contextlib.ExitStack() as handlers:

    def handle(number: int, frame: FrameType | None) -> None:
      caught.append(number)
      handlers.close()

    handlers.enter_context(_handling(handle, signal.SIGINT, signal.SIGTERM))
    yield lambda step: caught[0] if caught else 0


def is_of_another_process(error: Exception) -> bool:
  """Returns true if an error may mean that another process of the run has died.

  The messages differ between devices, so any error of JAX's runtime counts if there are several
  processes.
  """
  jax = sys.modules.get("jax")
  if jax is None or not isinstance(error, jax.errors.JaxRuntimeError):
    return False
  return jax.process_count() > 1


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None], *numbers: int) -> Iterator[None]:
  try:
    before = {number: signal.signal(number, handler) for number in numbers}
  except ValueError:  # not the main thread, as in some notebooks
    before = {}
  try:
    yield
  finally:
    for number, old in before.items():
      signal.signal(number, old)

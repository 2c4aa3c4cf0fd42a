"""Signs of life to the process that supervises this one, if one does; see `supervisor.py`."""

import contextlib
import os
import signal

# Names the file descriptor of a pipe to the supervisor.
VARIABLE = "TFX_JAX_HEARTBEAT"

_pipe: int | None = None


def connect() -> bool:
  """Takes the pipe that the supervisor has left; returns whether there is one."""
  global _pipe
  if number := os.environ.pop(VARIABLE, ""):
    _pipe = int(number)
    os.set_blocking(_pipe, False)
    os.set_inheritable(_pipe, False)
  return _pipe is not None


def beat() -> None:
  """Says that work goes on: after every step and every batch of whatever takes long.

  Without its supervisor a run stops as by SIGTERM: another one may begin it again elsewhere.
  """
  global _pipe
  if _pipe is None:
    return
  try:
    with contextlib.suppress(BlockingIOError):  # it has not read for long: it knows enough
      os.write(_pipe, b".")
  except OSError:
    _pipe = None
    signal.raise_signal(signal.SIGTERM)

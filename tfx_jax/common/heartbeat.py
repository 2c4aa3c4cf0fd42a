"""Signs of life that a run sends to its supervisor, if it has one; see `runtime/supervisor.py`."""

import contextlib
import os
import signal

# Environment variable with the file descriptor of a pipe to the supervisor.
VARIABLE = "TFX_JAX_HEARTBEAT"

_pipe: int | None = None


def connect() -> bool:
  """Opens the pipe to the supervisor; returns whether there is one."""
  global _pipe
  if number := os.environ.pop(VARIABLE, ""):
    _pipe = int(number)
    os.set_blocking(_pipe, False)
    os.set_inheritable(_pipe, False)
  return _pipe is not None


def beat() -> None:
  """Sends a sign of life; call it after every step, and every batch of any long work.

  A run whose supervisor has died raises SIGTERM in itself, because the same run may be started
  again elsewhere.
  """
  global _pipe
  if _pipe is None:
    return
  try:
    with contextlib.suppress(BlockingIOError):  # the pipe is full of signs that it has not read
      os.write(_pipe, b".")
  except OSError:
    _pipe = None
    signal.raise_signal(signal.SIGTERM)

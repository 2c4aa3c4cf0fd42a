"""A small parent that watches a run, and starts it again when it dies or hangs.

It imports nothing heavy and holds no device: JAX may abort a process without an exception, and
only another process can tell.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from tfx_jax.common.heartbeat import VARIABLE

# Exit code of a run that ended but is not finished: the same command goes on with it. It is
# EX_TEMPFAIL of sysexits.h; a user's error is 2, a fault of ours 1.
RESTART = 75

# Seconds without a sign of life after which a run hangs: the longest compilation, or the longest
# preparation of data that says nothing.
SILENCE = 1800.0

# Seconds from SIGTERM to SIGKILL for a child that hangs.
GRACE = 30.0

_POLL = 0.2


class Supervisor:
  """Runs a command until it has ended well, is wrong, or has been started often enough.

  Args:
    command: of the run.
    restarts: how often it is started again.
    silence: seconds without a sign of life after which the child is ended.
    grace: seconds that it then has to end by itself.
  """

  def __init__(
    self,
    command: Sequence[str],
    restarts: int = 0,
    silence: float = SILENCE,
    grace: float = GRACE,
  ):
    self._command, self._restarts = command, restarts
    self._silence, self._grace = silence, min(grace, silence)
    self._child: subprocess.Popen | None = None
    self._told_to_stop = False

  def run(self) -> int:
    """The exit code of the last child; RESTART where it died by a signal or hung."""
    with self._signals():
      for number in range(self._restarts + 1):
        began = time.monotonic()
        code, ending = self._run_child()
        if ending is None:
          return code
        seconds = f"after {time.monotonic() - began:,.0f} s"
        if self._told_to_stop:
          _say(f"{ending} {seconds}, as it was told")
          return code
        if number == self._restarts:
          _say(f"{ending} {seconds}; not started again ({self._restarts} restarts)")
        else:
          _say(f"{ending} {seconds}; started again, {number + 1} of {self._restarts}")
    return RESTART

  def _run_child(self) -> tuple[int, str | None]:
    """The exit code, and in a few words how the run ended if it is to be started again."""
    reading, writing = os.pipe()
    try:
      # A group of its own: Ctrl-C on a terminal is passed on once, not twice.
      self._child = subprocess.Popen(
        self._command,
        env=os.environ | {VARIABLE: str(writing)},
        pass_fds=(writing,),
        process_group=0,
      )
      os.close(writing)
      if self._told_to_stop:
        self._child.send_signal(signal.SIGTERM)
      hung = self._watch(reading)
    finally:
      os.close(reading)
    code = self._child.returncode
    if hung:
      return RESTART, f"the run hung: no sign of life for {self._silence:,.0f} s"
    if code < 0:
      interrupted = self._told_to_stop and -code == signal.SIGINT
      return (128 - code if interrupted else RESTART), f"the run was killed by {_name(-code)}"
    return code, "the run stopped unfinished" if code == RESTART else None

  def _watch(self, reading: int) -> bool:
    """Waits until the child has ended; returns whether it had to be ended."""
    heard, open_ended = time.monotonic(), True
    while self._child.poll() is None:
      if open_ended:
        ready, _, _ = select.select([reading], [], [], _POLL)
        if ready:
          heard = time.monotonic()
          open_ended = bool(os.read(reading, 1 << 16))
      else:
        with contextlib.suppress(subprocess.TimeoutExpired):
          self._child.wait(_POLL)
      if time.monotonic() - heard > self._silence:
        self._end()
        return True
    return False

  def _end(self) -> None:
    """Ends a child that hangs: perhaps it can still save, perhaps not even end."""
    self._child.terminate()
    try:
      self._child.wait(self._grace)
    except subprocess.TimeoutExpired:
      self._child.kill()
      self._child.wait()

  @contextlib.contextmanager
  def _signals(self) -> Iterator[None]:
    """Passes SIGINT and SIGTERM on; after one of them nothing is started again."""

    def forward(number: int, frame: object) -> None:
      self._told_to_stop = True
      if self._child is not None and self._child.poll() is None:
        self._child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
      yield
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)


def _name(number: int) -> str:
  try:
    return signal.Signals(number).name
  except ValueError:  # a real-time signal
    return f"signal {number}"


def _say(text: str) -> None:
  print(f"supervisor: {text}", file=sys.stderr, flush=True)

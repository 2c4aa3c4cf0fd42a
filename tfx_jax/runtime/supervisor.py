"""A small parent process that watches a run and restarts it when it dies or hangs.

It imports nothing heavy and uses no device. JAX may abort a process without an exception, which
only another process can notice.
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

# Exit code of a run that ended unfinished: the same command resumes it. EX_TEMPFAIL of sysexits.h.
# A user's error is 2, an internal error 1.
RESTART = 75

# Seconds without a heartbeat after which a run is considered hung. Longer than any compilation, and
# any preparation of data between two heartbeats.
SILENCE = 1800.0

# Seconds between SIGTERM and SIGKILL for a hung child.
GRACE = 30.0

_POLL = 0.2


class Supervisor:
  """Runs a command until it finishes, fails for good, or has used up its restarts.

  Args:
    command: command of the run.
    restarts: maximum number of restarts.
    silence: seconds without a heartbeat after which the child is ended.
    grace: seconds that the child then has to end after SIGTERM.
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
    self._asked_to_stop = False

  def run(self) -> int:
    """Returns the exit code of the last child; RESTART if it was killed by a signal or hung."""
    with self._signals():
      for number in range(self._restarts + 1):
        began = time.monotonic()
        code, ending = self._run_child()
        if ending is None:
          return code
        seconds = f"after {time.monotonic() - began:,.0f} s"
        if self._asked_to_stop:
          _say(f"{ending} {seconds}, as requested")
          return code
        if number == self._restarts:
          _say(f"{ending} {seconds}; not restarted ({self._restarts} restarts allowed)")
        else:
          _say(f"{ending} {seconds}; restart {number + 1} of {self._restarts}")
    return RESTART

  def _run_child(self) -> tuple[int, str | None]:
    """Returns the exit code and, if the run is to be restarted, the reason in a few words."""
    reading, writing = os.pipe()
    try:
      # A group of its own: Ctrl-C on a terminal is passed on once, not twice.
      child = self._child = subprocess.Popen(
        self._command,
        env=os.environ | {VARIABLE: str(writing)},
        pass_fds=(writing,),
        process_group=0,
      )
      os.close(writing)
      if self._asked_to_stop:
        child.send_signal(signal.SIGTERM)
      hung = self._watch(child, reading)
    finally:
      os.close(reading)
    code = child.returncode
    if hung:
      return RESTART, f"the run hung: no heartbeat for {self._silence:,.0f} s"
    if code < 0:
      interrupted = self._asked_to_stop and -code == signal.SIGINT
      return (128 - code if interrupted else RESTART), f"the run was killed by {_name(-code)}"
    return code, "the run stopped unfinished" if code == RESTART else None

  def _watch(self, child: subprocess.Popen, reading: int) -> bool:
    """Waits until the child has ended; returns true if it hung and had to be ended."""
    heard, open_ended = time.monotonic(), True
    while child.poll() is None:
      if open_ended:
        ready, _, _ = select.select([reading], [], [], _POLL)
        if ready:
          heard = time.monotonic()
          open_ended = bool(os.read(reading, 1 << 16))
      else:
        with contextlib.suppress(subprocess.TimeoutExpired):
          child.wait(_POLL)
      if time.monotonic() - heard > self._silence:
        self._end(child)
        return True
    return False

  def _end(self, child: subprocess.Popen) -> None:
    """Ends a hung child, with some time to save before it is killed."""
    child.terminate()
    try:
      child.wait(self._grace)
    except subprocess.TimeoutExpired:
      child.kill()
      child.wait()

  @contextlib.contextmanager
  def _signals(self) -> Iterator[None]:
    """Forwards SIGINT and SIGTERM to the child; after one of them there are no restarts."""

    def forward(number: int, frame: object) -> None:
      self._asked_to_stop = True
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

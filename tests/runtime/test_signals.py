import os
import signal
import socket
import subprocess
import sys
import threading

import jax
import pytest

from tfx_jax.runtime.signals import (
  Terminated,
  caught_signals,
  is_of_another_process,
  raising_terminated,
)


def kill(number=signal.SIGTERM):
  os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers():
  """A shell that starts the tests in the background has SIGINT ignored."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


def test_sigterm_raises_only_within_the_block():
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(Terminated), raising_terminated():
    kill()
  assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_is_noted_and_the_next_is_not_waited_for(number):
  before = signal.getsignal(number)
  with pytest.raises((KeyboardInterrupt, Terminated)), raising_terminated():
    with caught_signals() as stop_at:
      assert stop_at(1) == 0
      kill(number)
      assert stop_at(1) == stop_at(2) == number
      kill(number)
  assert signal.getsignal(number) is before


def test_outside_the_main_thread_no_signal_is_caught():
  found = []

  def run():
    with raising_terminated(), caught_signals() as stop_at:
      found.append(stop_at(1))

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert found == [0]


def test_only_errors_of_devices_may_be_of_another_process(monkeypatch):
  error = jax.errors.JaxRuntimeError("INTERNAL: Gloo all-reduce failed: Connection reset by peer")
  assert not is_of_another_process(error)
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  assert is_of_another_process(error)
  assert not is_of_another_process(ValueError("ours"))


PROCESS = """
import sys, time
import jax
number, port = int(sys.argv[1]), sys.argv[2]
from tfx_jax.runtime.signals import caught_signals, raising_terminated
with raising_terminated():
  jax.distributed.initialize(f"localhost:{port}", 2, number, initialization_timeout=60)
  with caught_signals() as stop_at:
    for step in range(20_000):
      if stop_at(step):
        break
      if step == 5:
        print("going", flush=True)
      time.sleep(0.01)
print("stopped at", step, flush=True)
"""


@pytest.mark.slow
def test_of_two_processes_both_stop_at_the_same_step():
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", PROCESS, str(number), str(port)],
      env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    for number in range(2)
  ]
  for process in processes:
    while "going" not in process.stdout.readline():
      assert process.poll() is None
  processes[1].terminate()
  ends = [process.communicate(timeout=300)[0].splitlines()[-1] for process in processes]
  assert ends[0] == ends[1] != "stopped at 19999" and ends[0].startswith("stopped at ")

"""The supervising parent, with children that run given programs."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from support.tiny_run import write_experiment

from tfx_jax.runtime import supervisor
from tfx_jax.runtime.supervisor import RESTART, Supervisor

CHILD = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from tfx_jax.common import heartbeat
heartbeat.connect()
number = len(open({log!r}).readlines())
with open({log!r}, "a") as file:
  file.write("started\\n")
{body}
"""
ROOT = str(pathlib.Path(__file__).parents[2])


@pytest.fixture
def supervised(tmp_path, capfd):
  """Runs a child that is this Python text; `number` counts its starts from 0."""
  log = tmp_path / "log"
  log.write_text("")

  def run(body, **options):
    code = CHILD.format(root=ROOT, log=str(log), body=body)
    began = time.monotonic()
    result = Supervisor([sys.executable, "-c", code], **options).run()
    seconds = time.monotonic() - began
    lines = [line for line in capfd.readouterr().err.splitlines() if "supervisor:" in line]
    return result, len(log.read_text().splitlines()), lines, seconds

  return run


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_a_finished_run_is_not_restarted(supervised, code):
  assert supervised(f"sys.exit({code})", restarts=3)[:3] == (code, 1, [])


def test_a_killed_child_is_restarted(supervised):
  body = "if number < 2: os.kill(os.getpid(), (signal.SIGKILL, signal.SIGABRT)[number])"
  result, starts, lines, _ = supervised(body, restarts=3)
  assert (result, starts) == (0, 3)
  assert [line.split(" after ")[0] for line in lines] == [
    "supervisor: the run was killed by SIGKILL",
    "supervisor: the run was killed by SIGABRT",
  ]
  assert lines[1].endswith("; restart 2 of 3")


def test_the_exit_code_for_a_restart_restarts_it(supervised):
  result, starts, lines, _ = supervised(f"sys.exit({RESTART} if number < 2 else 2)", restarts=9)
  assert (result, starts, len(lines)) == (2, 3, 2)
  assert lines[0].startswith("supervisor: the run stopped unfinished after ")


@pytest.mark.parametrize("restarts", [0, 2])
def test_after_the_last_restart_the_exit_code_asks_for_another(supervised, restarts):
  result, starts, lines, _ = supervised("os.kill(os.getpid(), 9)", restarts=restarts)
  assert (result, starts, len(lines)) == (RESTART, restarts + 1, restarts + 1)
  assert lines[-1].endswith(f"; not restarted ({restarts} restarts allowed)")


def test_a_run_without_heartbeats_is_reported_and_ended(supervised):
  result, starts, lines, seconds = supervised("time.sleep(60)", silence=0.6)
  assert (result, len(lines)) == (RESTART, 1) and starts <= 1  # slow to start, it says nothing too
  assert lines[0].startswith("supervisor: the run hung: no heartbeat for 1 s after ")
  assert 0.6 < seconds < 30


def test_a_hung_child_that_ignores_sigterm_is_killed(supervised):
  body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nheartbeat.beat()\ntime.sleep(60)"
  result, _, lines, seconds = supervised(body, silence=0.5, grace=0.3)
  assert result == RESTART and "hung" in lines[0] and seconds < 30


class FakeChild:
  """A child in a time of its own: a second passes whenever it is looked at."""

  def __init__(self, monkeypatch, beats, ends, listens=True):
    self.now, self.beats, self.ends, self.listens = 0.0, beats, ends, listens
    self.returncode, self.got = None, []
    monkeypatch.setattr(supervisor, "_POLL", 0)
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: self.now)
    monkeypatch.setattr(supervisor.subprocess, "Popen", self.start)

  def start(self, command, env, pass_fds, process_group):
    assert env["TFX_JAX_HEARTBEAT"] == str(*pass_fds) and process_group == 0
    self.pipe = os.dup(*pass_fds)
    return self

  def poll(self):
    self.now += 1
    if self.now in self.beats:
      os.write(self.pipe, b".")
    if self.now >= self.ends and self.returncode is None:
      self.returncode = 0
      os.close(self.pipe)
    return self.returncode

  def wait(self, timeout=None):
    if self.returncode is None:
      raise subprocess.TimeoutExpired("run", timeout)

  def terminate(self):
    self.got.append(signal.SIGTERM)
    if self.listens:
      self.returncode = RESTART

  def kill(self):
    self.got.append(signal.SIGKILL)
    self.returncode = -signal.SIGKILL


def test_heartbeats_are_received(monkeypatch, capfd):
  child = FakeChild(monkeypatch, beats=range(3, 100, 3), ends=40)
  assert Supervisor(["run"], silence=4).run() == 0
  assert child.got == [] and capfd.readouterr().err == ""


@pytest.mark.parametrize("listens", [True, False])
def test_when_they_end_so_does_the_child(monkeypatch, capfd, listens):
  child = FakeChild(monkeypatch, beats=range(3, 20, 3), ends=1000, listens=listens)
  assert Supervisor(["run"], silence=10).run() == RESTART
  assert child.got == [signal.SIGTERM, signal.SIGKILL][: 1 if listens else 2]
  assert 18 + 10 < child.now <= 18 + 12
  err = capfd.readouterr().err
  assert err.startswith("supervisor: the run hung: no heartbeat for 10 s after ")
  assert err.endswith("; not restarted (0 restarts allowed)\n")


PARENT = """
import sys
sys.path.insert(0, {root!r})
from tfx_jax.runtime.supervisor import Supervisor
sys.exit(Supervisor([sys.executable, "-c", {child!r}], restarts=5).run())
"""


def start_parent(tmp_path, body):
  """A parent process with such a child, when the child has started."""
  log = tmp_path / "log"
  log.write_text("")
  child = CHILD.format(root=ROOT, log=str(log), body=body)
  parent = subprocess.Popen([sys.executable, "-c", PARENT.format(root=ROOT, child=child)])
  wait_for(lambda: "ready" in log.read_text())
  return parent, log


def wait_for(condition, seconds=30):
  deadline = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


READY = """
def tell(line):
  with open({log!r}, "a") as file:
    file.write(line + "\\n")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_forwarded_once_without_a_restart(tmp_path, number):
  tell = READY.format(log=str(tmp_path / "log"))
  body = f"""{tell}
def handle(number, frame):
  tell(f"got {{number}}")
  time.sleep(0.3)
  sys.exit({RESTART})
signal.signal({int(number)}, handle)
tell("ready")
time.sleep(60)
"""
  parent, log = start_parent(tmp_path, body)
  parent.send_signal(number)
  assert parent.wait(30) == RESTART
  assert log.read_text().splitlines() == ["started", "ready", f"got {int(number)}"]


@pytest.mark.parametrize(
  ("number", "code"), [(signal.SIGINT, 128 + signal.SIGINT), (signal.SIGTERM, RESTART)]
)
def test_a_child_that_dies_of_a_forwarded_signal_is_not_restarted(tmp_path, number, code):
  tell = READY.format(log=str(tmp_path / "log"))
  body = f"{tell}signal.signal({int(number)}, signal.SIG_DFL)\ntell('ready')\ntime.sleep(60)"
  parent, log = start_parent(tmp_path, body)
  parent.send_signal(number)
  assert parent.wait(30) == code
  assert log.read_text().splitlines() == ["started", "ready"]


def test_without_its_parent_a_child_stops(tmp_path):
  tell = READY.format(log=str(tmp_path / "log"))
  body = f"""{tell}
signal.signal(signal.SIGTERM, lambda *_: (tell("stopping"), sys.exit(0)))
tell("ready")
for _ in range(600):
  heartbeat.beat()
  time.sleep(0.05)
"""
  parent, log = start_parent(tmp_path, body)
  parent.kill()
  parent.wait()
  wait_for(lambda: "stopping" in log.read_text())
  assert log.read_text().splitlines() == ["started", "ready", "stopping"]


def test_the_parent_stays_light():
  code = (
    "import sys, tfx_jax.runtime.supervisor; print(*{'jax', 'numpy', 'flax'} & set(sys.modules))"
  )
  out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert out.stdout.split() == []


def children(process):
  """The processes that a process has started."""
  with open(f"/proc/{process}/task/{process}/children") as file:
    return [int(number) for number in file.read().split()]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux's /proc")
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(tmp_path):
  """A real one: killed at its first checkpoint, then stopped by its parent, then finished."""
  experiment, workdir = write_experiment(tmp_path), tmp_path / "run"
  command = [sys.executable, "-m", "tfx_jax.main", experiment, f"--workdir={workdir}"]
  environment = os.environ | {"PYTHONPATH": ROOT}

  def start():
    return subprocess.Popen(
      [*command, "--restarts=2"], env=environment, stderr=subprocess.PIPE, text=True
    )

  def wait_for_step(step):
    wait_for(lambda: (workdir / "checkpoints" / str(step) / "manifest.json").exists(), 300)

  parent = start()
  wait_for_step(4)
  (child,) = children(parent.pid)
  os.kill(child, signal.SIGKILL)
  err = ""
  while "resuming at step" not in err and (line := parent.stderr.readline()):
    err += line
  parent.terminate()
  err += parent.communicate(timeout=300)[1]
  assert parent.returncode == RESTART, err
  assert "supervisor: the run was killed by SIGKILL after" in err
  assert "restart 1 of 2" in err and "stopped by SIGTERM" in err
  parent = start()
  err = parent.communicate(timeout=300)[1]
  assert parent.returncode == 0, err
  assert "resuming at step" in err and "chrf_signature" in err

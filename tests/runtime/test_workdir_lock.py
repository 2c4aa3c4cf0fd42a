"""One process at a time holds a workdir, and whoever has died holds none."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from tfx_jax.errors import UserError
from tfx_jax.runtime import workdir_lock
from tfx_jax.runtime.workdir_lock import InUseError, locked

ROOT = str(pathlib.Path(__file__).parents[2])
HOLD = """
import sys, time
from tfx_jax.runtime.workdir_lock import locked
with locked(sys.argv[1]):
  print("held", flush=True)
  time.sleep(600)
"""


@pytest.fixture
def workdir(tmp_path):
  return str(tmp_path / "runs" / "run")


@pytest.fixture
def quick(monkeypatch):
  monkeypatch.setattr(workdir_lock, "BEAT", 0.02)
  monkeypatch.setattr(workdir_lock, "SILENCE", 0.3)
  monkeypatch.setattr(workdir_lock, "_POLL", 0.02)


@contextlib.contextmanager
def holder(workdir):
  """Another process that holds the lock."""
  environment = os.environ | {"PYTHONPATH": ROOT}
  command = [sys.executable, "-c", HOLD, workdir]
  with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
    assert process.stdout.readline() == b"held\n"
    try:
      yield process
    finally:
      process.kill()


def write_lock(workdir, **name):
  """The file as a process of this name has left it."""
  os.makedirs(workdir)
  with open(f"{workdir}/lock", "w") as file:
    json.dump({"host": "elsewhere", "machine": "another kernel", "pid": 7} | name, file)


def test_another_process_is_refused_by_name_until_it_has_died(workdir):
  with holder(workdir) as process:
    with pytest.raises(InUseError) as info, locked(workdir):
      pass
    host = os.uname().nodename
    assert str(info.value).startswith(
      f"{workdir} is in use by process {process.pid} of host {host}"
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
  assert os.listdir(workdir) == ["lock"]
  with locked(workdir):  # at once, whatever program has that number now
    with open(f"{workdir}/lock") as file:
      assert json.load(file)["pid"] == os.getpid()
  assert os.listdir(workdir) == []


def test_a_process_may_take_its_lock_again(workdir):
  with locked(workdir):
    with locked(os.path.join(workdir, "..", "run")):
      pass
    assert os.listdir(workdir) == ["lock"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError, SystemExit])
def test_errors_and_signals_release_it_and_no_empty_folder_is_left(workdir, tmp_path, error):
  with pytest.raises(error), locked(workdir):
    assert os.listdir(workdir) == ["lock"]
    raise error
  assert os.listdir(tmp_path) == [] and not workdir_lock._held
  os.makedirs(workdir)
  with pytest.raises(error), locked(workdir):
    raise error
  assert os.path.isdir(workdir) and os.listdir(workdir) == []  # it is the user's


def test_the_lock_of_a_dead_host_is_taken_over(workdir, quick, capsys):
  write_lock(workdir)
  with locked(workdir):
    pass
  err = capsys.readouterr().err
  assert err.startswith(f"{workdir} was in use by process 7 of host elsewhere: waiting ")


def test_the_lock_of_another_living_host_is_not_taken(workdir, quick):
  write_lock(workdir)
  ended = threading.Event()

  def touch():
    while not ended.wait(0.05):
      os.utime(f"{workdir}/lock")

  thread = threading.Thread(target=touch)
  thread.start()
  try:
    with pytest.raises(InUseError, match="in use by process 7 of host elsewhere"), locked(workdir):
      pass
  finally:
    ended.set()
    thread.join()
  assert os.listdir(workdir) == ["lock"]


def test_its_holder_touches_the_file(workdir, quick):
  with locked(workdir):
    before, end = os.stat(f"{workdir}/lock").st_mtime_ns, time.monotonic() + 10
    while os.stat(f"{workdir}/lock").st_mtime_ns == before and time.monotonic() < end:
      time.sleep(0.01)
    assert os.stat(f"{workdir}/lock").st_mtime_ns > before


def test_a_file_system_without_locks_is_watched(workdir, quick, monkeypatch):
  def without(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", without)
  with locked(workdir):
    workdir_lock._held.clear()  # as another process sees it
    with pytest.raises(InUseError, match=f"process {os.getpid()} of"), locked(workdir):
      pass
  write_lock(f"{workdir}2", machine=workdir_lock._machine())
  with locked(f"{workdir}2"):
    pass


def test_who_was_taken_for_dead_leaves_the_lock_of_its_successor(workdir):
  with locked(workdir), open(f"{workdir}/lock", "r+") as file:
    json.dump({"host": "elsewhere", "machine": "another kernel", "pid": 7}, file)
    file.truncate()
  assert os.listdir(workdir) == ["lock"]


@pytest.mark.parametrize("content", [b"", b'{"host": "els', b"[]", b"\xff"])
def test_a_file_that_was_cut_off_is_nobodys(workdir, content):
  os.makedirs(workdir)
  with open(f"{workdir}/lock", "wb") as file:
    file.write(content)
  with locked(workdir):
    pass
  assert os.listdir(workdir) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(workdir, tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(os, "pwrite", full)
  with pytest.raises(UserError) as info, locked(workdir):
    pass
  assert str(info.value).startswith(f"cannot write to workdir {workdir}: No space left on device")
  assert os.listdir(tmp_path) == []


def test_a_workdir_that_cannot_be_made_is_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  for workdir in (f"{tmp_path}/file", f"{tmp_path}/file/run"):
    with pytest.raises(UserError) as info, locked(workdir):
      pass
    assert str(info.value).startswith(f"cannot write to workdir {workdir}: ")

"""Lock of a workdir, so that only one run at a time writes there.

WORKDIR/lock names the host and process that hold the lock. The kernel's lock on that file ends with
the process, however it dies. On a shared file system such locks may be local to each host, or
missing. Therefore the holder also touches the file every few seconds, and a process that finds the
lock file of another host waits to see if it is still being touched.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

from tfx_jax.common.heartbeat import beat
from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError

NAME = "lock"

# Seconds between two touches of the file, and without one until the holder is considered dead.
BEAT = 10.0
SILENCE = 40.0
_POLL = 1.0

# Folders that this process has locked.
_held: set[str] = set()


class InUseError(UserError):
  """Raised when another process holds the lock."""


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[None]:
  """Holds the lock of a workdir in a `with` block; the same process may take it again.

  A missing workdir is created, and removed again if it stays empty.

  Raises:
    InUseError: if another process holds it.
    UserError: if the workdir cannot be written.
  """
  folder = os.path.realpath(workdir)
  if folder in _held:
    yield
    return
  with contextlib.ExitStack() as stack:
    stack.callback(_remove_empty, _make_folders(workdir))
    stack.enter_context(_lock_file(workdir))
    _held.add(folder)
    stack.callback(_held.discard, folder)
    yield


def _make_folders(workdir: str) -> list[str]:
  """Creates a folder and its parents; returns those that were missing, innermost first."""
  missing, path = [], os.path.abspath(workdir)
  while not os.path.lexists(path):
    missing.append(path)
    path = os.path.dirname(path)
  try:
    os.makedirs(workdir, exist_ok=True)
  except OSError as error:
    raise _unwritable(workdir, error) from error
  return missing


def _remove_empty(folders: list[str]) -> None:
  for folder in folders:
    with contextlib.suppress(OSError):  # not empty
      os.rmdir(folder)


@contextlib.contextmanager
def _lock_file(workdir: str) -> Iterator[None]:
  """Holds the lock file, with this process's name in it, in a `with` block."""
  path = os.path.join(workdir, NAME)
  try:
    descriptor = _take(workdir, path)
  except OSError as error:
    raise _unwritable(workdir, error) from error
  try:
    try:
      _sign(descriptor)
    except OSError as error:
      raise _unwritable(workdir, error) from error
    with _touching(descriptor):
      yield
  finally:
    # If this process was suspended for long, another host may have considered it dead and own it.
    if _read(descriptor) in ({}, _this_process()):
      with contextlib.suppress(OSError):
        os.unlink(path)
    os.close(descriptor)


def _take(workdir: str, path: str) -> int:
  """Returns the descriptor of the lock file, once no other process holds it."""
  while True:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      _claim(workdir, path, descriptor)
      # The previous holder may have removed the file after it was opened here.
      if os.path.samestat(os.fstat(descriptor), os.stat(path)):
        return descriptor
    except FileNotFoundError:
      pass
    except BaseException:
      os.close(descriptor)
      raise
    os.close(descriptor)


def _claim(workdir: str, path: str, descriptor: int) -> None:
  """Locks the file; raises InUseError if its holder is alive."""
  refused = _lock(descriptor)
  holder = _read(descriptor)
  here = holder.get("machine") == _machine()
  if refused == errno.EWOULDBLOCK and (here or not holder):
    raise _in_use(workdir, holder)
  if not holder or (here and not refused):
    return  # a living holder on this machine would still have the kernel's lock
  print(
    f"{workdir} was in use by {_name(holder)}: waiting {SILENCE:.0f} s to see if it is alive",
    file=sys.stderr,
    flush=True,
  )
  if _is_alive(path):
    raise _in_use(workdir, holder)
  _lock(descriptor)  # it may fail: a file server keeps the lock of a dead host for a while


def _lock(descriptor: int) -> int:
  """Asks the kernel for the lock; returns 0, or the number of the error."""
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    return error.errno or errno.EIO
  return 0


def _is_alive(path: str) -> bool:
  """Returns true if the file is touched. Compares its times with each other, not with our clock."""
  before, end = os.stat(path).st_mtime_ns, time.monotonic() + SILENCE
  while time.monotonic() < end:
    time.sleep(_POLL)
    beat()
    # Network file systems refresh their cached attributes when a file is opened.
    with open(path, "rb") as file:
      if os.fstat(file.fileno()).st_mtime_ns != before:
        return True
  return False


def _read(descriptor: int) -> JsonObject:
  """Returns the holder that the file names; {} if it was truncated, as by a full disk."""
  try:
    content = json.loads(os.pread(descriptor, 4096, 0))
  except ValueError:
    return {}
  return content if isinstance(content, dict) else {}


def _sign(descriptor: int) -> None:
  os.ftruncate(descriptor, 0)
  os.pwrite(descriptor, json.dumps(_this_process()).encode(), 0)
  os.fsync(descriptor)


def _this_process() -> JsonObject:
  return {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid()}


def _machine() -> str:
  """Returns the identity of the running kernel, shared by containers but not by hosts."""
  try:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
      return file.read().strip()
  except OSError:
    return socket.gethostname()


@contextlib.contextmanager
def _touching(descriptor: int) -> Iterator[None]:
  ended = threading.Event()

  def touch() -> None:
    while not ended.wait(BEAT):
      with contextlib.suppress(OSError):
        os.utime(descriptor)

  thread = threading.Thread(target=touch, name="workdir lock", daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()


def _name(holder: JsonObject) -> str:
  return f"process {holder.get('pid', '?')} of host {holder.get('host', '?')}"


def _in_use(workdir: str, holder: JsonObject) -> InUseError:
  return InUseError(
    f"{workdir} is in use by {_name(holder)}: wait until it has ended, end it, or choose another "
    "--workdir"
  )


def _unwritable(workdir: str, error: OSError) -> UserError:
  return UserError(
    f"cannot write to workdir {workdir}: {error.strerror or error}; free its disk or choose another"
  )

"""The lock of a workdir: one run at a time writes there.

WORKDIR/lock names the host and the process that hold it, and the kernel's lock on that file ends
with the process, however it dies. A shared file system may keep such locks to each host, or have
none: the holder therefore also touches the file every few seconds, and whoever finds the file of
another host waits to see whether that goes on.
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
from tfx_jax.errors import UserError

NAME = "lock"

# Seconds between two signs of life, and without one after which the holder is dead.
BEAT = 10.0
SILENCE = 40.0
_POLL = 1.0

# Folders that this process holds.
_held: set[str] = set()


class InUseError(UserError):
  """Another process holds the lock."""


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[None]:
  """Holds the lock of a workdir, which is made if it is missing and removed if it stays empty.

  What this process holds already may be taken again.

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
  """Makes the folder and those above it; returns those that were missing, the innermost first."""
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
    with contextlib.suppress(OSError):  # it is not empty
      os.rmdir(folder)


@contextlib.contextmanager
def _lock_file(workdir: str) -> Iterator[None]:
  """The file, with the name of this process in it while this lasts."""
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
    with _signs_of_life(descriptor):
      yield
  finally:
    # Not the file of another host that has taken this process, suspended for long, for dead.
    if _read(descriptor) in ({}, _own_name()):
      with contextlib.suppress(OSError):
        os.unlink(path)
    os.close(descriptor)


def _take(workdir: str, path: str) -> int:
  """The descriptor of the file, once nobody else holds it."""
  while True:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      _claim(workdir, path, descriptor)
      # Whoever held it may have removed the file after it was opened here.
      if os.path.samestat(os.fstat(descriptor), os.stat(path)):
        return descriptor
    except FileNotFoundError:
      pass
    except BaseException:
      os.close(descriptor)
      raise
    os.close(descriptor)


def _claim(workdir: str, path: str, descriptor: int) -> None:
  """Locks the file, unless its holder is alive."""
  refused = _lock(descriptor)
  holder = _read(descriptor)
  here = holder.get("machine") == _machine()
  if refused == errno.EWOULDBLOCK and (here or not holder):
    raise _in_use(workdir, holder)
  if not holder or (here and not refused):
    return  # a holder of this machine would still have the kernel's lock
  print(
    f"{workdir} was in use by {_name(holder)}: waiting {SILENCE:.0f} s for a sign of life of it",
    file=sys.stderr,
    flush=True,
  )
  if _is_alive(path):
    raise _in_use(workdir, holder)
  _lock(descriptor)  # a file server keeps the lock of a dead host for a while


def _lock(descriptor: int) -> int:
  """Asks the kernel for the lock; returns 0, or the number of the error."""
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    return error.errno
  return 0


def _is_alive(path: str) -> bool:
  """Whether somebody touches the file; times are compared with each other, not with our clock."""
  before, end = os.stat(path).st_mtime_ns, time.monotonic() + SILENCE
  while time.monotonic() < end:
    time.sleep(_POLL)
    beat()
    # Opened anew: that is when network file systems look whether they still know the truth.
    with open(path, "rb") as file:
      if os.fstat(file.fileno()).st_mtime_ns != before:
        return True
  return False


def _read(descriptor: int) -> dict:
  """The holder that a file names; nothing where it has been cut off, as by a full disk."""
  try:
    content = json.loads(os.pread(descriptor, 4096, 0))
  except ValueError:
    return {}
  return content if isinstance(content, dict) else {}


def _sign(descriptor: int) -> None:
  os.ftruncate(descriptor, 0)
  os.pwrite(descriptor, json.dumps(_own_name()).encode(), 0)
  os.fsync(descriptor)


def _own_name() -> dict:
  return {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid()}


def _machine() -> str:
  """Identity of the running kernel: containers share it, hosts of the same name do not."""
  try:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
      return file.read().strip()
  except OSError:
    return socket.gethostname()


@contextlib.contextmanager
def _signs_of_life(descriptor: int) -> Iterator[None]:
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


def _name(holder: dict) -> str:
  return f"process {holder.get('pid', '?')} of host {holder.get('host', '?')}"


def _in_use(workdir: str, holder: dict) -> InUseError:
  return InUseError(
    f"{workdir} is in use by {_name(holder)}: wait until it has ended, end it, or choose another "
    "--workdir"
  )


def _unwritable(workdir: str, error: OSError) -> UserError:
  return UserError(
    f"cannot write to workdir {workdir}: {error.strerror or error}; free its disk or choose another"
  )

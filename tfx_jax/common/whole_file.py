"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from typing import BinaryIO

# Beginning of the names of files that are not finished.
UNFINISHED = ".tfx-unfinished-"


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
  """A file that takes the place of `path` once it is whole and on disk.

  Until then, and where writing fails, what is at `path` stays as it is. The unfinished file has a
  name of its own in the same folder, so that no other file is touched. A link is written through,
  and a file that is replaced hands on its permissions.

  Args:
    path: of the file.

  Raises:
    OSError: if it cannot be written, or is there and write-protected.
  """
  path = os.path.realpath(path)
  if os.path.exists(path) and not os.access(path, os.W_OK):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
  unfinished = os.path.join(os.path.dirname(path), UNFINISHED + uuid.uuid4().hex)
  try:
    with open(unfinished, "xb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    if os.path.exists(path):
      shutil.copymode(path, unfinished)
    os.replace(unfinished, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(unfinished)
    raise


def write_whole(path: str, content: str | bytes) -> None:
  """Writes a file, see `whole_file`; text as UTF-8, with '?' for lone surrogates."""
  with whole_file(path) as file:
    file.write(content if isinstance(content, bytes) else content.encode(errors="replace"))

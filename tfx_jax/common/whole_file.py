"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from typing import BinaryIO

# Prefix of the names of unfinished files.
UNFINISHED = ".tfx-unfinished-"


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
  """Opens a file that replaces `path` once it is complete and on disk.

  Until then, and if writing fails, `path` stays as it was. The unfinished file is in the same
  folder, under a unique name. Symbolic links are followed, and the permissions of a replaced file
  are kept.

  Args:
    path: path of the file.

  Raises:
    OSError: if the file cannot be written, or exists and is write-protected.
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
  """Writes a file by `whole_file`; text as UTF-8, with '?' for lone surrogates."""
  with whole_file(path) as file:
    file.write(content if isinstance(content, bytes) else content.encode(errors="replace"))

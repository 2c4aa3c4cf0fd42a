"""Text files that the command line reads and writes; - stands for a standard stream."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import TextIO

from tfx_jax.common.whole_file import whole_file
from tfx_jax.errors import UserError
from tfx_jax.runtime.standard_streams import standard_input, standard_output
from tfx_jax.sources.file import decoded_lines, decompressed


def read_lines(path: str) -> list[str]:
  """Returns the lines of a UTF-8 file, plain or compressed; '-' reads standard input.

  Raises:
    UserError: if it cannot be read, or is not UTF-8.
  """
  name = f"--input={path}"
  try:
    if path == "-":
      content = standard_input().buffer.read()
    else:
      with open(path, "rb") as file:
        content = file.read()
  except OSError as error:
    raise UserError(f"cannot read {name}: {error.strerror}") from error
  with decompressed(io.BytesIO(content), name) as file:
    return list(decoded_lines(file, name))


@contextlib.contextmanager
def writing(path: str) -> Iterator[TextIO]:
  """Opens a UTF-8 file that appears at its place once it is complete; '-' is standard output.

  Raises:
    UserError: if it cannot be written.
  """
  if path == "-":
    with standard_output() as stream:
      yield stream
    return
  try:
    with _opened(path) as file:
      text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
      yield text
      text.detach()  # flushes, and leaves the file open: `_opened` closes it
  except OSError as error:
    raise UserError(f"cannot write --output={path}: {error.strerror}") from error


def _opened(path: str) -> contextlib.AbstractContextManager:
  # A device, a pipe or the file behind a standard stream is appended to, not replaced.
  special = os.path.exists(path) and not os.path.isfile(path)
  standard = path.startswith(("/dev/std", "/dev/fd/", "/proc/"))
  return open(path, "ab") if special or standard else whole_file(path)

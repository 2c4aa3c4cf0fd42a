"""Files of lines that the command line reads and writes, or the standard streams in their place."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from tfx_jax.errors import UserError


def read_lines(path: str) -> list[str]:
  """The lines of a UTF-8 file, or for '-' of standard input.

  Raises:
    UserError: if it cannot be read, or is not UTF-8.
  """
  try:
    if path == "-":
      content = sys.stdin.buffer.read()
    else:
      with open(path, "rb") as file:
        content = file.read()
  except OSError as error:
    raise UserError(f"cannot read --input={path}: {error.strerror}") from error
  lines = []
  for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], 1):
    try:
      lines.append(line.removesuffix(b"\r").decode())
    except UnicodeDecodeError as error:
      raise UserError(f"--input={path}, line {number}: not UTF-8 ({error.reason})") from error
  return lines


@contextlib.contextmanager
def writing(path: str) -> Iterator[TextIO]:
  """A UTF-8 file that appears when it is whole, or for '-' standard output.

  Raises:
    UserError: if it cannot be written.
  """
  if path == "-":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    yield sys.stdout
    sys.stdout.flush()
    return
  # A device or a pipe is written to, not replaced.
  name = f"{path}.tmp" if os.path.isfile(path) or not os.path.exists(path) else path
  try:
    with open(name, "w", encoding="utf-8", newline="\n") as file:
      yield file
    if name != path:
      os.replace(name, path)
  except OSError as error:
    raise UserError(f"cannot write --output={path}: {error.strerror}") from error
  finally:
    if name != path:
      with contextlib.suppress(OSError):
        os.remove(name)

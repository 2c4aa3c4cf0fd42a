"""Standard streams that may be closed, and what is done where one is missing."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from tfx_jax.errors import UserError


def replace_missing() -> None:
  """Lets a program run whose standard streams are closed.

  Messages go nowhere without a standard error: `print` and tqdm would take standard output for it.
  The descriptors 0 to 2 are opened, since the next file opened would have one of them, and what
  libraries write to standard error would end up in that file.
  """
  while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
    pass
  os.close(descriptor)
  if sys.stderr is None:
    sys.stderr = open(os.devnull, "w")


def standard_input() -> TextIO:
  """Returns standard input.

  Raises:
    UserError: if it is closed.
  """
  if sys.stdin is None:
    raise UserError("standard input is closed: open it, or in --mode=generate give --input=FILE")
  return sys.stdin


@contextlib.contextmanager
def standard_output() -> Iterator[TextIO]:
  """Standard output for results, as UTF-8, written to its end.

  Raises:
    UserError: if it is closed, or cannot be written.
  """
  if sys.stdout is None:
    raise UserError("standard output is closed: results go there")
  try:
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    yield sys.stdout
    sys.stdout.flush()
  except BrokenPipeError:
    raise
  except OSError as error:
    raise UserError(f"cannot write to standard output: {error.strerror or error}") from error


def discard_output() -> None:
  """Sends what standard output still holds nowhere; Python would fail on it when it ends."""
  descriptor = os.open(os.devnull, os.O_WRONLY)
  os.dup2(descriptor, sys.stdout.fileno())
  os.close(descriptor)

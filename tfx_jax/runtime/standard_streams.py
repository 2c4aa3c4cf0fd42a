"""Standard streams that are closed, or that cannot be written."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from tfx_jax.errors import UserError


def replace_missing() -> None:
  """Replaces closed standard streams, so that the program can run without them.

  Without standard error, messages are discarded; `print` and tqdm would write them to standard
  output. The descriptors 0 to 2 are opened: otherwise the next file opened would get one of them,
  and what libraries write to standard error would end up in that file.
  """
  while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
    pass
  os.close(descriptor)
  if sys.stderr is None:
    sys.stderr = open(os.devnull, "w")


@contextlib.contextmanager
def tolerant_standard_error() -> Iterator[None]:
  """Ignores messages that cannot be written in a `with` block, as when a log's disk is full.

  Results and exit codes must not depend on messages. A reader that has closed its pipe is still an
  error.
  """
  with contextlib.redirect_stderr(cast(TextIO, _Tolerant(sys.stderr))):
    yield


class _Tolerant:
  """A text stream whose failures to write are ignored."""

  def __init__(self, stream: TextIO):
    self._stream = stream

  def write(self, text: str) -> int:
    with _ignoring_failures():
      self._stream.write(text)
    return len(text)

  def flush(self) -> None:
    with _ignoring_failures():
      self._stream.flush()

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)


@contextlib.contextmanager
def _ignoring_failures() -> Iterator[None]:
  try:
    yield
  except BrokenPipeError:
    raise
  except OSError:
    pass


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
  """Opens standard output for results, as UTF-8, and flushes it after a `with` block.

  Raises:
    UserError: if it is closed, or cannot be written.
  """
  if sys.stdout is None:
    raise UserError("standard output is closed: results go there")
  try:
    if isinstance(sys.stdout, io.TextIOWrapper):  # a notebook's is none
      sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    yield sys.stdout
    sys.stdout.flush()
  except BrokenPipeError:
    raise
  except OSError as error:
    raise UserError(f"cannot write to standard output: {error.strerror or error}") from error


def discard_output() -> None:
  """Discards buffered output, which Python would fail to write when it ends."""
  descriptor = os.open(os.devnull, os.O_WRONLY)
  os.dup2(descriptor, sys.stdout.fileno())
  os.close(descriptor)

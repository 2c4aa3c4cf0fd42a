"""Files of text, plain or gzip, and the fingerprint of what they hold."""

import contextlib
import functools
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from tfx_jax.errors import MissingFile, UserError

_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 17


class FileReader:
  """What the readers of files share: the files and the fingerprint of their contents."""

  def __init__(
    self, format: str, paths: Sequence[str], fields: Sequence[str], columns: Sequence[str] = ()
  ) -> None:
    self.files = [Lines(path) for path in paths]
    self.fields = tuple(fields)
    self._layout = json.dumps([format, list(fields), list(columns)])

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hash of the format, the fields and the contents, whatever the files' names or compression."""
    digest = hashlib.blake2b(self._layout.encode(), digest_size=16)
    for file in self.files:
      digest.update(file.digest())
    return digest.hexdigest()


class Lines:
  """The lines of one UTF-8 file, plain or gzip; only a line feed ends one."""

  def __init__(self, path: str) -> None:
    self.path = path
    with self._open() as file:
      if not file.read(len(_BOM) + 1).removeprefix(_BOM):
        raise UserError(f"{path} is empty")

  def __iter__(self) -> Iterator[str]:
    with self._open() as file:
      for number, line in enumerate(file, 1):
        if number == 1:
          line = line.removeprefix(_BOM)
        try:
          yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
          raise UserError(f"{self.path}, line {number}: not UTF-8 ({error.reason})") from error

  def digest(self) -> bytes:
    """Returns the hash of the (uncompressed) bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with self._open() as file:
      while block := file.read(_BLOCK):
        digest.update(block)
    return digest.digest()

  def text(self) -> str:
    """Returns the whole content."""
    with self._open() as file:
      try:
        return file.read().removeprefix(_BOM).decode("utf-8")
      except UnicodeDecodeError as error:
        raise UserError(f"{self.path}: not UTF-8 ({error.reason})") from error

  @contextlib.contextmanager
  def _open(self) -> Iterator[BinaryIO]:
    try:
      if self.path.endswith(".gz"):
        with gzip.open(self.path, "rb") as file, io.BufferedReader(file, _BLOCK) as buffered:
          yield buffered
      else:
        with open(self.path, "rb", _BLOCK) as file:
          yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
      raise UserError(f"{self.path} is not a whole gzip file: {error}") from error
    except FileNotFoundError as error:
      raise MissingFile(f"no file {self.path}") from error
    except OSError as error:
      raise UserError(f"cannot read {self.path}: {error.strerror or error}") from error

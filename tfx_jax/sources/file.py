"""Files of text, plain or compressed, and the fingerprint of their contents."""

import bz2
import contextlib
import functools
import gzip
import hashlib
import io
import json
import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from tfx_jax.errors import MissingFile, UserError

_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 17
# Compressions that are read, by the first bytes of a file, whatever its name.
_COMPRESSIONS = {
  b"\x1f\x8b": ("gzip", gzip.open),
  b"\xfd7zXZ\0": ("xz", lzma.open),
  **{b"BZh%d1AY&SY" % level: ("bzip2", bz2.open) for level in range(1, 10)},
}
# Formats that are not read, by the first bytes: the format, and a program that converts it.
_FOREIGN = {
  b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unzstd"),
  b"\x04\x22\x4d\x18": ("compressed by lz4", "unlz4"),
  b"\x1f\x9d": ("compressed by compress", "uncompress"),
  b"PK\x03\x04": ("a zip archive", "unzip"),
  b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "7z x"),
  b"\xff\xfe": ("UTF-16", "iconv -f UTF-16 -t UTF-8"),
  b"\xfe\xff": ("UTF-16", "iconv -f UTF-16 -t UTF-8"),
}
_HEAD = 16  # bytes, enough for all of them
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
# Hashes of files by device, inode, size and time of the last change, in this process.
_digests: dict[tuple[int, ...], bytes] = {}


class FileSource:
  """Base class of sources of files: the files, and the fingerprint of their contents."""

  def __init__(
    self, format: str, paths: Sequence[str], fields: Sequence[str], columns: Sequence[str] = ()
  ) -> None:
    self.files = [Lines(path) for path in paths]
    self.fields = tuple(fields)
    self._layout = json.dumps([format, list(fields), list(columns)])

  @property
  def fingerprint(self) -> str:
    """A hash of format, fields and contents, whatever the names and compression of the files."""
    return self._fingerprint

  @functools.cached_property
  def _fingerprint(self) -> str:
    digest = hashlib.blake2b(self._layout.encode(), digest_size=16)
    for file in self.files:
      digest.update(file.digest())
    return digest.hexdigest()


class Lines:
  """The lines of one UTF-8 file, plain or compressed by gzip, bzip2 or xz.

  A line ends with a line feed, or a carriage return and a line feed, and nothing else. A byte order
  mark at the start of the file is removed.

  Raises:
    UserError: here if the file cannot be read or is empty, while iterating if it is not UTF-8.
  """

  def __init__(self, path: str) -> None:
    self.path = path
    with self._open() as file:
      if not file.read(len(_BOM) + 1).removeprefix(_BOM):
        raise UserError(f"{path} is empty")

  def __iter__(self) -> Iterator[str]:
    with self._open() as file:
      yield from decoded_lines(file, self.path)

  def digest(self) -> bytes:
    """Returns a hash of the (uncompressed) bytes; an unchanged file is read only once."""
    with self._open() as file:
      status = os.stat(self.path)
      key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
      if key not in _digests:
        digest = hashlib.blake2b(digest_size=16)
        while block := file.read(_BLOCK):
          digest.update(block)
        _digests[key] = digest.digest()
    return _digests[key]

  def text(self) -> str:
    """Returns the whole content."""
    with self._open() as file:
      content = file.read()
    try:
      return content.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
      raise UserError(f"{self.path}: {_not_utf8(content, error)}") from error

  @contextlib.contextmanager
  def _open(self) -> Iterator[BinaryIO]:
    try:
      with open(self.path, "rb", _BLOCK) as file, decompressed(file, self.path) as content:
        yield content
    except FileNotFoundError as error:
      raise MissingFile(f"no file {self.path}") from error
    except OSError as error:
      raise UserError(f"cannot read {self.path}: {error.strerror or error}") from error


@contextlib.contextmanager
def decompressed(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
  """Opens the content of a file that may be compressed, as its first bytes show.

  Args:
    file: the file, at its start; one that cannot seek is taken to be uncompressed.
    name: its name, for errors.

  Raises:
    UserError: if the file is damaged.
  """
  head = file.read(_HEAD) if file.seekable() else b""
  if file.seekable():
    file.seek(0)
  matches = [_COMPRESSIONS[start] for start in _COMPRESSIONS if head.startswith(start)]
  if not matches:
    yield file
    return
  kind, opened = matches[0]
  try:
    with opened(file, "rb") as content, io.BufferedReader(content, _BLOCK) as buffered:
      yield buffered
  except _DAMAGE as error:
    raise UserError(f"{name} is not a whole {kind} file: {error}") from error
  except OSError as error:
    if error.errno is not None:
      raise
    raise UserError(f"{name} is not a whole {kind} file: {error}") from error


def decoded_lines(file: BinaryIO, name: str) -> Iterator[str]:
  """Yields the lines of a file's bytes, see `Lines`.

  Raises:
    UserError: for a line that is not UTF-8.
  """
  for number, line in enumerate(file, 1):
    try:
      text = line.removeprefix(_BOM) if number == 1 else line
      yield text.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
      reason = _not_utf8(line if number == 1 else b"", error)
      raise UserError(f"{name}, line {number}: {reason}") from error


def _not_utf8(head: bytes, error: UnicodeDecodeError) -> str:
  """Returns the reason why a content is not UTF-8, with its format if the first bytes show it."""
  for start, (kind, program) in _FOREIGN.items():
    if head.startswith(start):
      return f"not UTF-8 but {kind}: convert it to text ({program})"
  return f"not UTF-8 ({error.reason})"

"""Iterators of records with a fingerprint, from files of the user's own and known corpora."""

import contextlib
import functools
import glob
import gzip
import hashlib
import importlib
import io
import itertools
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from tfx_jax.errors import UserError, nearest

FORMATS = ("text", "tsv", "jsonl", "tfds", "cldr", "docstrings", "python")
_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 17


class Reader(Protocol):
  """A corpus that can be read any number of times.

  Attributes:
    fingerprint: changes exactly when the content does.
  """

  @property
  def fingerprint(self) -> str: ...  # noqa: D102

  def __iter__(self) -> Iterator[dict[str, str]]:
    """Yields {field: text} for each record, plus 'kind' where the corpus tells it."""
    ...


def open_reader(
  format: str,
  path: str,
  fields: Sequence[str],
  columns: Sequence[str] = (),
  tfds_dir: str = "",
) -> Reader:
  """Opens a corpus; files are found and seen not to be empty here, and read when iterated over.

  Args:
    format: 'text' (aligned files PREFIX.FIELD, one record a line), 'tsv', 'jsonl' (all three plain
      or gzip by a name ending in .gz), 'tfds' (prepared by TensorFlow Datasets), 'cldr',
      'docstrings', 'python' (built in), or `package.module:Name`, called with (path, fields) and
      returning a `Reader`.
    path: the prefix for 'text', the file for 'tsv' and 'jsonl', NAME[/CONFIG][:SPLIT] for 'tfds',
      the split for 'cldr', SPLIT[:PACKAGE+PACKAGE] for 'docstrings' and 'python'.
    fields: names of the texts of a record. For 'jsonl' and 'tfds', nested ones are dotted.
    columns: names of the columns of a 'tsv' file in order; `fields` if empty.
    tfds_dir: where TensorFlow Datasets keeps its data; where it does by itself if empty.

  Raises:
    UserError: here for an unknown format and a missing, empty or unreadable file; while iterating
      for a line that is not UTF-8 or not a record of this format, and for unequal line counts.
  """
  match format:
    case "text":
      return _TextReader(path, fields)
    case "tsv":
      return _TsvReader(path, fields, columns or fields)
    case "jsonl":
      return _JsonlReader(path, fields)
    case "tfds":
      from tfx_jax.data.tfds_reader import TfdsReader

      return TfdsReader(path, fields, tfds_dir)
    case "cldr":
      from tfx_jax.data.cldr import CldrReader

      return CldrReader(split=path, fields=fields)
    case "docstrings" | "python":
      from tfx_jax.data.python_text import PythonReader

      return PythonReader(format, path, fields)
  if ":" in format and all(part.isidentifier() for part in format.replace(":", ".", 1).split(".")):
    return _imported(format)(path, fields)
  raise UserError(f"data.format='{format}' is unknown{nearest(format, FORMATS)}")


class _FileReader:
  """What the readers of files share: the files and the fingerprint of their contents."""

  def __init__(
    self, format: str, paths: Sequence[str], fields: Sequence[str], columns: Sequence[str] = ()
  ) -> None:
    self.files = [_Lines(path) for path in paths]
    self.fields = tuple(fields)
    self._layout = json.dumps([format, list(fields), list(columns)])

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hash of the format, the fields and the contents, whatever the files' names or compression."""
    digest = hashlib.blake2b(self._layout.encode(), digest_size=16)
    for file in self.files:
      digest.update(file.digest())
    return digest.hexdigest()


class _TextReader(_FileReader):
  """Aligned files, PREFIX.FIELD each: line n of one belongs to line n of the others."""

  def __init__(self, prefix: str, fields: Sequence[str]) -> None:
    super().__init__("text", [_field_file(prefix, field) for field in fields], fields)

  def __iter__(self) -> Iterator[dict[str, str]]:
    lines = [iter(file) for file in self.files]
    for number, texts in enumerate(itertools.zip_longest(*lines)):
      if None in texts:
        counts = [
          f"{file.path} has {number + (text is not None) + sum(1 for _ in rest)}"
          for file, text, rest in zip(self.files, texts, lines, strict=True)
        ]
        raise UserError(f"aligned files need equally many lines: {', '.join(counts)}")
      yield dict(zip(self.fields, texts, strict=True))


class _TsvReader(_FileReader):
  """One file, tabs between the columns and no quoting."""

  def __init__(self, path: str, fields: Sequence[str], columns: Sequence[str]) -> None:
    for field in fields:
      if field not in columns:
        raise UserError(f"data.columns has no '{field}'{nearest(field, columns)}")
    super().__init__("tsv", [path], fields, columns)
    self.places = [(field, list(columns).index(field)) for field in fields]
    self.width = len(columns)

  def __iter__(self) -> Iterator[dict[str, str]]:
    (file,) = self.files
    for number, line in enumerate(file, 1):
      cells = line.split("\t")
      if len(cells) < self.width:
        raise UserError(
          f"{file.path}, line {number}: {len(cells)} column(s), needs {self.width} between tabs"
        )
      yield {field: cells[place] for field, place in self.places}


class _JsonlReader(_FileReader):
  """One JSON object a line; a dotted field reaches into nested objects."""

  def __init__(self, path: str, fields: Sequence[str]) -> None:
    super().__init__("jsonl", [path], fields)
    self.keys = [(field, field.split(".")) for field in fields]

  def __iter__(self) -> Iterator[dict[str, str]]:
    (file,) = self.files
    for number, line in enumerate(file, 1):
      try:
        value = json.loads(line)
        record = {field: _lookup(value, field, keys) for field, keys in self.keys}
      except json.JSONDecodeError as error:
        raise UserError(f"{file.path}, line {number}: not JSON ({error.msg})") from error
      except (ValueError, RecursionError) as error:
        raise UserError(f"{file.path}, line {number}: {error}") from error
      if "kind" not in record and isinstance(value.get("kind"), str):
        record["kind"] = value["kind"]
      yield record


class _Lines:
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
    except OSError as error:
      raise UserError(f"cannot read {self.path}: {error.strerror or error}") from error


def _field_file(prefix: str, field: str) -> str:
  plain = f"{prefix}.{field}"
  for path in (plain, f"{plain}.gz"):
    if os.path.exists(path):
      return path
  present = sorted(glob.glob(glob.escape(prefix) + ".*"))[:4]
  found = f"; found {', '.join(present)}" if present else ""
  raise UserError(f"no file {plain} or {plain}.gz{found}")


def _lookup(value: object, field: str, keys: Sequence[str]) -> str:
  for key in keys:
    if not isinstance(value, dict):
      raise ValueError(f"'{field}' needs an object around '{key}', not {type(value).__name__}")
    if key not in value:
      raise ValueError(f"no key '{field}'{nearest(key, value)}")
    value = value[key]
  if not isinstance(value, str):
    raise ValueError(f"'{field}' is not a string but {type(value).__name__}")
  value.encode("utf-8")  # \ud800 is JSON but no text
  return value


def _imported(name: str) -> object:
  module, attribute = name.split(":")
  try:
    found = getattr(importlib.import_module(module), attribute, None)
  except ImportError as error:
    raise UserError(f"data.format='{name}' cannot be imported: {error}") from error
  if not callable(found):
    raise UserError(f"data.format='{name}': {module} has no callable '{attribute}'")
  return found

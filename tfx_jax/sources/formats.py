"""Iterators of records with a fingerprint, from files of the user's own and known corpora."""

import functools
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

from absl import logging

from tfx_jax.common.names import check_members, check_parameters, imported, members
from tfx_jax.errors import UserError, nearest
from tfx_jax.sources.file import FileReader
from tfx_jax.sources.text_reader import AlignedReader, FilesReader, LinesReader

FORMATS = ("text", "lines", "files", "tsv", "jsonl", "tfds", "cldr", "docstrings", "python")
# The formats of files that have such a name. What ends in .txt has a record a line, of one field.
_ENDINGS = {".jsonl": "jsonl", ".tsv": "tsv", ".txt": "lines"}

_JSON_SPACE = " \t\r\n"


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
    format: 'text' (aligned files PREFIX.FIELD, one record a line), 'lines' (one file and one field,
      one record a line), 'files' (one field, a record a file), 'tsv', 'jsonl' (all of them plain or
      compressed by gzip, bzip2 or xz), 'tfds' (prepared by TensorFlow Datasets), 'cldr',
      'docstrings', 'python' (built in), or `package.module:Name`, a class or function that has the
      parameters `path` and `fields` and gives a `Reader`.
    path: the prefix for 'text', the file for 'lines', 'tsv' and 'jsonl', NAME[/CONFIG][:SPLIT] for
      'tfds', the split for 'cldr', SPLIT[:PACKAGE+PACKAGE] for 'docstrings' and 'python'; for
      'files' a file, folder or pattern, which may have [:90%] or [90%:] behind it, for a part of
      each file. Several are joined by commas; each may begin with a format of its own:
      jsonl:a.jsonl,lines:b.txt.
    fields: names of the texts of a record. For 'jsonl' and 'tfds', nested ones are dotted; of
      'jsonl', a key that has the dot itself comes first.
    columns: names of all the columns of a 'tsv' file in order, also of those that are not read;
      `fields` if empty. Only for 'tsv'.
    tfds_dir: where TensorFlow Datasets keeps its data; where it does by itself if empty.

  Raises:
    UserError: here for an unknown format and a missing (`MissingFile`), empty or unreadable file;
      while iterating for a line that is not UTF-8 or not a record of this format, and for unequal
      line counts.
  """
  # A format of the user's own takes its path as it is.
  parts = path.split(",") if ":" not in format else [path]
  formats_paths = []
  for part in parts:
    own, _, rest = part.partition(":")
    formats_paths.append((own, rest) if rest and own in FORMATS else (format, part))
  if columns and "tsv" not in dict(formats_paths):
    raise UserError(f"data.columns is for data.format='tsv', not '{format}': leave it empty")
  readers = [_open_one(*given, fields, columns, tfds_dir) for given in formats_paths]
  return readers[0] if len(readers) == 1 else _Joined(readers)


def _open_one(
  format: str, path: str, fields: Sequence[str], columns: Sequence[str], tfds_dir: str
) -> Reader:
  match format:
    case "text":
      return AlignedReader(path, fields)
    case "lines":
      return LinesReader(path, fields)
    case "files":
      return FilesReader(path, fields)
    case "tsv":
      return _TsvReader(path, fields, columns or fields)
    case "jsonl":
      return _JsonlReader(path, fields)
    case "tfds":
      from tfx_jax.sources.tfds_reader import TfdsReader

      return TfdsReader(path, fields, tfds_dir)
    case "cldr":
      from tfx_jax.sources.cldr import CldrReader

      return CldrReader(split=path, fields=fields)
    case "docstrings" | "python":
      from tfx_jax.sources.python_text import PythonReader

      return PythonReader(format, path, fields)
  return _own_reader(format, path, fields)


def _own_reader(name: str, path: str, fields: Sequence[str]) -> Reader:
  """The reader that a class or function of the user's own gives, if it is one."""
  make = imported("data.format", name, FORMATS)
  check_parameters("data.format", name, make, ("path", "fields"))
  if isinstance(make, type):
    check_members("data.format", name, make, "reader", ["__iter__"])
  reader = make(path=path, fields=fields)
  check_members("data.format", name, reader, "reader", members(Reader))
  return reader


def _hint(format: str, path: str, fields: Sequence[str]) -> str:
  """Says which format a path looks like, where that is another one."""
  ending = os.path.splitext(path.removesuffix(".gz"))[1]
  likely = _ENDINGS.get(ending, format)
  fits = format in FORMATS and (likely != "lines" or (len(fields) == 1 and format != "files"))
  if likely == format or not fits:
    return ""
  return f"; {path} ends in {ending}: did you mean data.format={likely}?"


class _Joined:
  """Corpora one after the other."""

  def __init__(self, readers: Sequence[Reader]) -> None:
    self._readers = readers

  @property
  def fingerprint(self) -> str:
    """That of all of them, in their order."""
    return "+".join(reader.fingerprint for reader in self._readers)

  def __iter__(self) -> Iterator[dict[str, str]]:
    return itertools.chain.from_iterable(self._readers)


class _TsvReader(FileReader):
  """One file, tabs between the columns; quotation marks are text. Empty lines are skipped."""

  def __init__(self, path: str, fields: Sequence[str], columns: Sequence[str]) -> None:
    for field in fields:
      if field not in columns:
        raise UserError(f"data.columns has no '{field}'{nearest(field, columns)}")
    super().__init__("tsv", [path], fields, columns)
    self.places = [(field, list(columns).index(field)) for field in fields]
    self.columns, self.width = columns, len(columns)

  def __iter__(self) -> Iterator[dict[str, str]]:
    (file,) = self.files
    empty = 0
    for number, line in enumerate(file, 1):
      if not line and self.width > 1:
        empty += 1
        continue
      cells = line.split("\t")
      if len(cells) != self.width:
        raise UserError(
          f"{file.path}, line {number}: {len(cells)} column(s) between tabs, not {self.width} "
          f"({', '.join(self.columns)}): name all in data.columns, also those that are not read"
          f"{_hint('tsv', file.path, self.columns)}"
        )
      yield {field: cells[place] for field, place in self.places}
    _warn_of_skipped(file.path, empty)


class _JsonlReader(FileReader):
  """One JSON object a line; a dotted field reaches into nested objects. Blank lines are skipped."""

  def __init__(self, path: str, fields: Sequence[str]) -> None:
    super().__init__("jsonl", [path], fields)

  def __iter__(self) -> Iterator[dict[str, str]]:
    (file,) = self.files
    blank = 0
    for number, line in enumerate(file, 1):
      if not line.strip(_JSON_SPACE):
        blank += 1
        continue
      try:
        value = json.loads(line)
        record = {field: _lookup(value, field) for field in self.fields}
      except json.JSONDecodeError as error:
        hint = _hint("jsonl", file.path, self.fields)
        raise UserError(f"{file.path}, line {number}: not JSON ({error.msg}){hint}") from error
      except (ValueError, RecursionError) as error:
        raise UserError(f"{file.path}, line {number}: {error}") from error
      if "kind" not in record and isinstance(value.get("kind"), str):
        record["kind"] = value["kind"]
      yield record
    _warn_of_skipped(file.path, blank)


@functools.lru_cache  # once, for a file is read several times
def _warn_of_skipped(path: str, count: int) -> None:
  if count:
    logging.warning("%s: %d blank line(s) skipped", path, count)


def _lookup(value: object, field: str) -> str:
  rest = field
  while rest:
    key, _, inner = rest.partition(".")
    if not isinstance(value, dict):
      raise ValueError(f"'{field}' needs an object around '{key}', not {type(value).__name__}")
    if rest in value:  # a key may have a dot in its name
      key, inner = rest, ""
    elif key not in value:
      raise ValueError(f"no key '{field}'{nearest(key, value)}")
    value, rest = value[key], inner
  if not isinstance(value, str):
    raise ValueError(f"'{field}' is not a string but {type(value).__name__}")
  value.encode("utf-8")  # \ud800 is JSON but no text
  return value

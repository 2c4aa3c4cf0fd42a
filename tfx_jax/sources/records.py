"""Files of records with several fields: TSV and JSON lines."""

import functools
import json
import os
from collections.abc import Iterator, Sequence

from absl import logging

from tfx_jax.errors import UserError, nearest
from tfx_jax.sources.file import FileSource

# Formats by the ending of a file's name. A .txt file has one field, and a record on each line.
_ENDINGS = {".jsonl": "jsonl", ".tsv": "tsv", ".txt": "lines"}
_JSON_SPACE = " \t\r\n"


class TsvSource(FileSource):
  """One file with tabs between the columns; quotation marks are text. Empty lines are skipped."""

  def __init__(self, path: str, fields: Sequence[str], columns: Sequence[str]) -> None:
    for field in fields:
      if field not in columns:
        raise UserError(f"data.columns has no '{field}'{nearest(field, columns)}")
    super().__init__("tsv", [path], fields, columns)
    self._places = [(field, list(columns).index(field)) for field in fields]
    self._columns, self._width = columns, len(columns)

  def __iter__(self) -> Iterator[dict[str, str]]:
    (file,) = self.files
    empty = 0
    for number, line in enumerate(file, 1):
      if not line and self._width > 1:
        empty += 1
        continue
      cells = line.split("\t")
      if len(cells) != self._width:
        raise UserError(
          f"{file.path}, line {number}: {len(cells)} column(s) between tabs, not {self._width} "
          f"({', '.join(self._columns)}): name all in data.columns, also those that are not read"
          f"{format_hint('tsv', file.path, self._columns)}"
        )
      yield {field: cells[place] for field, place in self._places}
    _warn_of_skipped(file.path, empty)


class JsonlSource(FileSource):
  """A JSON object on each line; fields of nested objects are dotted. Blank lines are skipped."""

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
        hint = format_hint("jsonl", file.path, self.fields)
        raise UserError(f"{file.path}, line {number}: not JSON ({error.msg}){hint}") from error
      except (ValueError, RecursionError) as error:
        raise UserError(f"{file.path}, line {number}: {error}") from error
      if "kind" not in record and isinstance(value.get("kind"), str):
        record["kind"] = value["kind"]
      yield record
    _warn_of_skipped(file.path, blank)


@functools.lru_cache  # only once, although a file is read several times
def _warn_of_skipped(path: str, count: int) -> None:
  if count:
    logging.warning("%s: %d blank line(s) skipped", path, count)


def format_hint(format: str, path: str, fields: Sequence[str]) -> str:
  """Returns the end of an error: which other format the name of a file suggests, if any."""
  ending = os.path.splitext(path.removesuffix(".gz"))[1]
  likely = _ENDINGS.get(ending, format)
  if likely == format or (likely == "lines" and (len(fields) != 1 or format == "files")):
    return ""
  return f"; {path} ends in {ending}: did you mean data.format={likely}?"


def _lookup(value: object, field: str) -> str:
  """Returns the text of a dotted field of a JSON object."""
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
  value.encode("utf-8")  # "\\ud800" is JSON, but not text
  return value

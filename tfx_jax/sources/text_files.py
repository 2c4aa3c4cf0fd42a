"""Files of plain text: aligned files, a record on each line, or a record for each file."""

import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from tfx_jax.errors import MissingFile, UserError
from tfx_jax.sources.file import FileSource
from tfx_jax.sources.paths import find_files

# PATH[:90%] and PATH[99.5%:], as in TensorFlow Datasets; and what may be an attempt to write that.
_PART = re.compile(r"(.*)\[(?:(\d+(?:\.\d+)?)%)?:(?:(\d+(?:\.\d+)?)%)?\]")
_LIKE_PART = re.compile(r".*\[[^\[\]]*:[^\[\]]*\]")
# Endings of the names of plain and compressed files.
_ENDINGS = ("", ".gz", ".GZ", ".bz2", ".xz")


class AlignedSource(FileSource):
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


class LinesSource(FileSource):
  """One file, a record on each line."""

  def __init__(self, path: str, fields: Sequence[str]) -> None:
    super().__init__("lines", [path], _only("lines", fields))

  def __iter__(self) -> Iterator[dict[str, str]]:
    (file,), (field,) = self.files, self.fields
    return ({field: line} for line in file)


class FilesSource(FileSource):
  """A record for each file: the whole text, or a part from one percentage of it to another."""

  def __init__(self, path: str, fields: Sequence[str]) -> None:
    match = _PART.fullmatch(path)
    if not match and _LIKE_PART.fullmatch(path) and not os.path.exists(path):
      raise UserError(f"{path}: a part is in percent of each file, such as [:90%] or [99.5%:]")
    pattern, start, end = match.groups() if match else (path, None, None)
    self._part = Fraction(start or 0), Fraction(end or 100)
    if not 0 <= self._part[0] < self._part[1] <= 100:
      raise UserError(f"{path}: a part is from a lower to a higher share, of 0% to 100%")
    super().__init__("files", _matching(pattern), _only("files", fields), [*map(str, self._part)])

  def __iter__(self) -> Iterator[dict[str, str]]:
    (field,), (start, end) = self.fields, self._part
    for file in self.files:
      text = file.text()
      part = text[int(len(text) * start / 100) : int(len(text) * end / 100)]
      if part:
        yield {field: part}


def _only(format: str, fields: Sequence[str]) -> Sequence[str]:
  if len(fields) != 1:
    raise UserError(
      f"data.format='{format}' has one field, and the task asks for {len(fields)}: "
      f"{', '.join(fields)}"
    )
  return fields


def _matching(pattern: str) -> list[str]:
  """Returns the files that a path names, in order, without empty ones."""
  files = [path for path in find_files(pattern) if os.path.getsize(path)]
  if not files:
    raise MissingFile(f"no file {pattern}, or an empty one")
  return files


def _field_file(prefix: str, field: str) -> str:
  plain = f"{prefix}.{field}"
  for ending in _ENDINGS:
    if os.path.exists(plain + ending):
      return plain + ending
  present = sorted(glob.glob(glob.escape(prefix) + ".*"))[:4]
  found = f"; found {', '.join(present)}" if present else ""
  raise MissingFile(f"no file {plain} or {plain}.gz{found}")

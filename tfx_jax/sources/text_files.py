"""Files of plain text: aligned files, a record on each line, or a record for each file."""

import glob
import itertools
import os
from collections.abc import Iterator, Sequence

from tfx_jax.errors import MissingFile, UserError
from tfx_jax.sources.file import FileSource
from tfx_jax.sources.parts import WHOLE, Part, check_part
from tfx_jax.sources.paths import find_files

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
  """A record for each file, its whole text; or a part of that.

  Args:
    pattern: a file, a folder or a pattern, see `find_files`.
    fields: the name of the field.
    part: if there is one file, a part of its text by characters; if there are several, a part of
      the list of files, each of which is whole.
  """

  def __init__(self, pattern: str, fields: Sequence[str], part: Part = WHOLE) -> None:
    paths = _matching(pattern)
    if len(paths) > 1:
      first, last = check_part(part, len(paths), "files", pattern)
      paths, part = paths[first:last], WHOLE
    self._part = part
    super().__init__("files", paths, _only("files", fields), [*map(str, part)])

  def part(self, part: Part) -> "FilesSource":
    """Returns a part of the text of a single file, or of the part that is read of it."""
    return FilesSource(self.files[0].path, self.fields, part.within(self._part))

  def __iter__(self) -> Iterator[dict[str, str]]:
    (field,) = self.fields
    for file in self.files:
      text = file.text()
      first, last = self._part.bounds(len(text))
      if first < last:
        yield {field: text[first:last]}


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

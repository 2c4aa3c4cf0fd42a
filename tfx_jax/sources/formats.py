"""Formats of data by name: each opens a source of records."""

import itertools
from collections.abc import Iterator, Sequence

from tfx_jax.common.names import check_members, check_parameters, imported, members
from tfx_jax.errors import UserError
from tfx_jax.sources.parts import WHOLE, PartOfRecords, split_part
from tfx_jax.sources.records import JsonlSource, TsvSource, format_hint
from tfx_jax.sources.source import Record, Source
from tfx_jax.sources.text_files import AlignedSource, FilesSource, LinesSource

FORMATS = (
  "text",
  "lines",
  "files",
  "tsv",
  "jsonl",
  "tfds",
  "cldr",
  "scenes",
  "idx",
  "pictures",
  "docstrings",
  "python",
)


def open_source(
  format: str,
  path: str,
  fields: Sequence[str],
  columns: Sequence[str] = (),
  tfds_dir: str = "",
) -> Source:
  """Opens a source of records; its files are checked here, and read when iterated over.

  Args:
    format: 'text' (aligned files PREFIX.FIELD, a record on each line), 'lines' (one file and one
      field, a record on each line), 'files' (one field, a record is a file), 'tsv', 'jsonl' (all of
      them plain or compressed by gzip, bzip2 or xz), 'tfds' (prepared by TensorFlow Datasets),
      'pictures' (a folder, see `sources/picture_folder.py`), 'idx' (the files of MNIST), 'cldr',
      'scenes', 'docstrings', 'python' (built in), or `package.module:Name`, a class or function
      that has the parameters `path` and `fields` and returns a `Source`.
    path: the prefix for 'text'; the file for 'lines', 'tsv' and 'jsonl'; NAME[/CONFIG][:SPLIT] for
      'tfds'; the split for 'cldr' and 'scenes'; the prefix of two files for 'idx'; the
      folder for 'pictures'; SPLIT[:PACKAGE+PACKAGE] for 'docstrings' and 'python'; a file, folder
      or pattern for 'files'. With [:90%] or [90%:] at its end, only this part of the records is
      read; for 'files' see `FilesSource`. Several paths are joined by commas; each may start with a
      format of its own: jsonl:a.jsonl,lines:b.txt.
    fields: names of the fields of a record. For 'jsonl' and 'tfds', those of nested objects are
      dotted; in 'jsonl', a key that contains the dot takes precedence.
    columns: names of all columns of a 'tsv' file in order, including those that are not used;
      `fields` if empty. Only for 'tsv'.
    tfds_dir: the data folder of TensorFlow Datasets; its default if empty.

  Raises:
    UserError: here for an unknown format and a missing (`MissingFile`), empty or unreadable file;
      while iterating for a line that is not UTF-8 or not a record of this format, and for unequal
      line counts.
  """
  # A format of one's own is given its path unchanged.
  parts = path.split(",") if ":" not in format else [path]
  given: list[tuple[str, str]] = []
  for part in parts:
    prefix, _, rest = part.partition(":")
    given.append((prefix, rest) if rest and prefix in FORMATS else (format, part))
  if columns and "tsv" not in dict(given):
    raise UserError(f"data.columns is for data.format='tsv', not '{format}': leave it empty")
  sources: list[Source] = []
  for name, rest in given:
    try:
      sources.append(_open_one(name, rest, fields, columns, tfds_dir))
    except UserError as error:
      if name in FORMATS and (hint := format_hint(name, rest.partition("[")[0], fields)):
        raise type(error)(f"{error}{hint}") from error
      raise
  return sources[0] if len(sources) == 1 else _Joined(sources)


def _open_one(
  format: str, path: str, fields: Sequence[str], columns: Sequence[str], tfds_dir: str
) -> Source:
  if format == "tfds" or format not in FORMATS:  # these read a part themselves, or not at all
    return _open_whole(format, path, fields, columns, tfds_dir)
  plain, part = split_part(path)
  if format == "files":
    return FilesSource(plain, fields, part)
  source = _open_whole(format, plain, fields, columns, tfds_dir)
  return source if part == WHOLE else PartOfRecords(source, part, plain)


def _open_whole(
  format: str, path: str, fields: Sequence[str], columns: Sequence[str], tfds_dir: str
) -> Source:
  match format:
    case "text":
      return AlignedSource(path, fields)
    case "lines":
      return LinesSource(path, fields)
    case "tsv":
      return TsvSource(path, fields, columns or fields)
    case "jsonl":
      return JsonlSource(path, fields)
    case "tfds":
      from tfx_jax.sources.tfds import TfdsSource

      return TfdsSource(path, fields, tfds_dir)
    case "cldr":
      from tfx_jax.sources.cldr import CldrSource

      return CldrSource(split=path, fields=fields)
    case "scenes":
      from tfx_jax.sources.scenes import ScenesSource

      return ScenesSource(split=path, fields=fields)
    case "idx":
      from tfx_jax.sources.idx import IdxSource

      return IdxSource(path, fields)
    case "pictures":
      from tfx_jax.sources.picture_folder import PictureFolder

      return PictureFolder(path, fields)
    case "docstrings" | "python":
      from tfx_jax.sources.python_text import PythonSource

      return PythonSource(format, path, fields)
  return _imported_source(format, path, fields)


def _imported_source(name: str, path: str, fields: Sequence[str]) -> Source:
  """Returns the source of a class or function `package.module:Name`."""
  make = imported("data.format", name, FORMATS)
  check_parameters("data.format", name, make, ("path", "fields"))
  if isinstance(make, type):
    check_members("data.format", name, make, "source", ["__iter__"])
  source = make(path=path, fields=fields)
  check_members("data.format", name, source, "source", members(Source))
  return source


class _Joined:
  """Sources, one after the other."""

  def __init__(self, sources: Sequence[Source]) -> None:
    self._sources = sources

  @property
  def fingerprint(self) -> str:
    """The fingerprints of all sources, in order."""
    return "+".join(source.fingerprint for source in self._sources)

  def __iter__(self) -> Iterator[Record]:
    return itertools.chain.from_iterable(self._sources)

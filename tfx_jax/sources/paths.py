"""Files that a path or pattern means, each once whatever links lead to it."""

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence


def find_files(pattern: str) -> list[str]:
  """Finds the files that are meant by a file's path, a folder's, or a pattern.

  Hidden files and folders are left out unless the pattern names them. Of the names that links give
  a file only one is found; links that lead back to a folder above are not followed again.

  Args:
    pattern: as `glob` reads it, `**` for any folders between.

  Returns:
    Paths in alphabetical order.
  """
  if os.path.isdir(pattern):
    paths = _below(pattern, ["**"])
  elif os.path.exists(pattern):
    paths = [pattern]
  else:
    parts = pattern.split(os.sep)
    place = parts.index("**") if "**" in parts else len(parts)
    head = os.sep.join(parts[:place]) or (os.sep if pattern.startswith(os.sep) else "")
    if place == len(parts):
      paths = glob.glob(pattern)
    else:
      tops = sorted(glob.glob(head)) if head else [""]
      paths = [path for top in tops for path in _below(top, parts[place:])]
  found: dict[str, str] = {}
  for path in sorted(paths):
    if os.path.isfile(path):
      found.setdefault(os.path.realpath(path), path)
  return list(found.values())


def _below(top: str, parts: Sequence[str]) -> list[str]:
  """The files below a folder whose path from there has these parts."""
  return [os.path.join(top, *names) for names in _walk(top, (), set()) if _matches(names, parts)]


def _walk(folder: str, names: tuple[str, ...], seen: set[str]) -> Iterator[tuple[str, ...]]:
  """Names from the top to each file below; a folder is entered once, by links last."""
  seen.add(os.path.realpath(folder))
  try:
    entries = sorted(os.scandir(folder or os.curdir), key=lambda e: (e.is_symlink(), e.name))
  except PermissionError:
    return  # as `glob` does
  for entry in entries:
    path = os.path.join(folder, entry.name)
    if not os.path.isdir(path):
      yield (*names, entry.name)
    elif os.path.realpath(path) not in seen:
      yield from _walk(path, (*names, entry.name), seen)


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
  if not parts:
    return not names
  if parts[0] == "**":
    if _matches(names, parts[1:]):
      return True
    return bool(names) and not names[0].startswith(".") and _matches(names[1:], parts)
  if not names or (names[0].startswith(".") and not parts[0].startswith(".")):
    return False
  return fnmatch.fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])

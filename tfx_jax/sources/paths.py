"""Files that a path or pattern names, each only once even if links lead to it."""

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence


def find_files(pattern: str) -> list[str]:
  """Finds the files that the path of a file or folder, or a pattern, names.

  Hidden files and folders are left out unless the pattern names them. If links give a file several
  names, only one is found; links to a folder above are not followed.

  Args:
    pattern: a pattern of `glob`, with `**` for any number of folders.

  Returns:
    paths in alphabetical order.
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
  files: dict[str, str] = {}
  for path in sorted(paths):
    if os.path.isfile(path):
      files.setdefault(os.path.realpath(path), path)
  return list(files.values())


def _below(top: str, parts: Sequence[str]) -> list[str]:
  """Returns the files below a folder whose path from there matches these parts."""
  return [os.path.join(top, *names) for names in _walk(top, (), set()) if _matches(names, parts)]


def _walk(folder: str, names: tuple[str, ...], seen: set[str]) -> Iterator[tuple[str, ...]]:
  """Yields the names from the top to each file; a folder is entered once, through links last."""
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
  """Returns whether names match the parts of a pattern, hidden ones only by a part with a dot."""
  if not parts:
    return not names
  if parts[0] == "**":
    if _matches(names, parts[1:]):
      return True
    return bool(names) and not names[0].startswith(".") and _matches(names[1:], parts)
  if not names or (names[0].startswith(".") and not parts[0].startswith(".")):
    return False
  return fnmatch.fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])

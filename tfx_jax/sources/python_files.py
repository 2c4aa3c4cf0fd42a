"""Sources of the Python packages that are installed here, found without importing any."""

import difflib
import functools
import hashlib
import os
import sysconfig
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from absl import logging

from tfx_jax.errors import UserError, nearest

SPLITS = ("train", "validation", "test")
# So that a few large packages are not most of what is read, and reading takes seconds.
MOST_FILES = 60  # of a package
MOST_BYTES = 200_000  # of a file
# Folders of code that is not the package's own, or is there to be run and not to be read.
_SKIPPED = {"__pycache__", "_vendor", "dist-packages", "site-packages", "test", "tests"}


class SourceFile(NamedTuple):
  """A module.

  Attributes:
    name: its place below the folder of packages, such as 'json/decoder.py'.
    path: of the file.
  """

  name: str
  path: str

  def text(self) -> str:
    """Its source, decoded as it asks for; raises OSError, SyntaxError or UnicodeDecodeError."""
    with tokenize.open(self.path) as file:
      return file.read()


class Sources(NamedTuple):
  """The modules of some packages.

  Attributes:
    splits: split -> its modules, in an order of chance that is always the same.
    fingerprint: of all their texts.
  """

  splits: dict[str, tuple[SourceFile, ...]]
  fingerprint: str


@functools.lru_cache(maxsize=2)
def find_sources(packages: tuple[str, ...] = ()) -> Sources:
  """Finds the sources of the standard library and of installed packages.

  Tests and vendored code are left out, so are large files, those that cannot be read (with a
  warning that counts them), empty ones and those with a text that an earlier file has. A tenth
  each is for validation and test.

  Args:
    packages: names of top-level packages, found whole, of which each module is in a split by
      itself. None: all there are, MOST_FILES of each at most, of which each package is in one
      split as a whole.

  Raises:
    UserError: no such package, or no sources at all.
  """
  found = _find()
  for package in packages:
    if package not in found:
      close = difflib.get_close_matches(package, found, n=1)
      hint = nearest(package, close) if close else "; name top-level packages, or none for all"
      raise UserError(f"no sources of a package '{package}'{hint}")
  splits, seen, failed = {split: [] for split in SPLITS}, set(), 0
  for package in packages or found:
    files = sorted(found[package], key=lambda file: _hash(file.name))
    for file in files if packages else files[:MOST_FILES]:
      try:
        text = file.text()
      except (OSError, SyntaxError, UnicodeDecodeError):
        failed += 1
        continue
      digest = _hash(text)
      if text.strip() and digest not in seen:
        seen.add(digest)
        splits[_split_of(file.name if packages else package)].append((file, digest))
  if failed:
    logging.warning("%d files of Python packages cannot be read and are left out", failed)
  for files in splits.values():
    files.sort(key=lambda found: _hash(found[0].name))
  return Sources(
    {split: tuple(file for file, _ in files) for split, files in splits.items()},
    _hash(repr([[digest for _, digest in files] for files in splits.values()])),
  )


def _find() -> dict[str, list[SourceFile]]:
  """The files of each package, the standard library's first."""
  roots = dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
  found: dict[str, list[SourceFile]] = {}
  for root in roots:
    own: dict[str, list[SourceFile]] = {}
    for name in _modules(root):
      package = name.split("/")[0].removesuffix(".py")
      own.setdefault(package, []).append(SourceFile(name, os.path.join(root, name)))
    found = own | found
  if not found:
    raise UserError(f"no Python sources in {', '.join(roots)}")
  return dict(sorted(found.items()))


def _modules(root: str) -> Iterator[str]:
  """Names of the files below a folder that make up packages, with / between folders."""
  for folder, folders, files in os.walk(root):
    folders[:] = [name for name in folders if name.isidentifier() and name not in _SKIPPED]
    for name in files:
      path = os.path.join(folder, name)
      if name.endswith(".py") and not name.endswith("_pb2.py"):  # which a compiler writes
        # A link may lead nowhere.
        if os.path.isfile(path) and os.path.getsize(path) <= MOST_BYTES:
          yield os.path.relpath(path, root).replace(os.sep, "/")


def _split_of(name: str) -> str:
  return {0: "test", 1: "validation"}.get(int(_hash(name), 16) % 10, "train")


def _hash(text: str) -> str:
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

"""Built-in corpora from the installed Python packages: docstrings, and whole modules."""

import functools
import hashlib
import sys
from collections.abc import Iterator, Sequence

from absl import logging

from tfx_jax.errors import UserError, nearest
from tfx_jax.sources.docstrings import docstring_pairs
from tfx_jax.sources.python_files import SPLITS, find_sources

FIELDS = {"docstrings": ("body", "summary"), "python": ("text",)}
# Most docstrings of a split, so that generating outputs for all of them takes minutes.
SIZES = {"validation": 500, "test": 1000}
_VERSION = 2  # of the rules that make records from sources, a part of the fingerprint


class PythonSource:
  """One split of a built-in corpus.

  Splits share no record and no package; if packages are named, no record and no module.

  Args:
    format: 'docstrings' (records `body`, a signature and a description, and `summary`) or 'python'
      (records `text`, a module's source).
    path: the split, 'train', 'validation' or 'test', of all packages; of some of them:
      'train:numpy+jax'.
    fields: fields of a record to yield.

  Attributes:
    fingerprint: a hash that changes with the texts of the modules.

  Raises:
    UserError: for an unknown split, package or field, and an empty split.
  """

  def __init__(self, format: str, path: str, fields: Sequence[str]) -> None:
    split, _, names = path.partition(":")
    if split not in SPLITS:
      raise UserError(f"data.format='{format}' has no split '{split}'{nearest(split, SPLITS)}")
    for field in fields:
      if field not in FIELDS[format]:
        raise UserError(f"data.format='{format}' has no '{field}'{nearest(field, FIELDS[format])}")
    self._packages = tuple(sorted({name.strip() for name in names.split("+")} - {""}))
    self._format, self._split, self._fields = format, split, tuple(fields)
    sources = find_sources(self._packages)
    if not sources.splits[split]:
      raise UserError(f"'{path}' is empty: name more packages, or none for all")
    parts = (format, _VERSION, sys.version_info[:2], path, self._fields, sources.fingerprint)
    self.fingerprint = hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()

  def __iter__(self) -> Iterator[dict[str, str]]:
    if self._format == "python":
      records = ((file.text(),) for file in find_sources(self._packages).splits[self._split])
    else:
      records = _docstrings(self._packages)[self._split]
    for record in records:
      named = dict(zip(FIELDS[self._format], record, strict=True))
      yield {field: named[field] for field in self._fields}


@functools.lru_cache(maxsize=2)
def _docstrings(packages: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
  """Returns split -> (body, summary) of its docstrings, in the same random order every time."""
  splits, seen, failed = {}, set(), 0
  for split, files in find_sources(packages).splits.items():
    pairs = []
    for file in files:
      try:
        found = list(docstring_pairs(file.text()))
      except (SyntaxError, ValueError, RecursionError):
        failed += 1
        continue
      for body, summary in found:
        digest = _hash("".join(body.split()))
        if digest not in seen:
          seen.add(digest)
          pairs.append((digest, body, summary))
    splits[split] = [pair for _, *pair in sorted(pairs)][: SIZES.get(split)]
  if failed:
    logging.warning("%d files are no Python of this version, and their docstrings left out", failed)
  return splits


def _hash(text: str) -> bytes:
  return hashlib.blake2b(text.encode(), digest_size=16).digest()

"""Removal of training records that overlap with the data of validation and test."""

import functools
import hashlib
import itertools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

from tfx_jax.errors import UserError
from tfx_jax.sources.source import Record, Source


class _Letters(dict):
  """Table for `str.translate` that keeps letters, digits and their combining marks.

  These are the vowel signs of many scripts, and accents that are not part of a composed letter.
  Marks that only choose a glyph (variation selectors) or enclose one are removed.
  """

  def __missing__(self, code: int) -> int | None:
    character = chr(code)
    combining = unicodedata.category(character) in ("Mn", "Mc")
    selector = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
    self[code] = code if character.isalnum() or (combining and not selector) else None
    return self[code]


_LETTERS = _Letters()
# A part of fingerprints: changes when `normalise` does, as other records are removed then.
_RULE = b"NFC, with marks"


def normalise(text: str) -> str:
  """Returns the letters, digits and their combining marks in a text, in lower case, composed (NFC).

  Texts that differ only in spaces, punctuation, case or the encoding of accents become equal.
  """
  return unicodedata.normalize("NFC", text).lower().translate(_LETTERS)


class WithoutOverlap:
  """A source without the records that share a key with a record of other sources.

  Args:
    source: training records.
    others: the sources of validation and test.
    keys: record -> texts that must not be in both; those without letters and digits are ignored.

  Raises:
    UserError: at the end of an iteration, if no record is left.

  Attributes:
    removed: number of records removed in the last complete iteration; None before it.
  """

  def __init__(
    self,
    source: Source,
    others: Sequence[Source],
    keys: Callable[[Record], Iterable[str]],
  ) -> None:
    self._source, self._others, self._keys = source, others, keys
    self.removed: int | None = None

  @property
  def fingerprint(self) -> str:
    """A hash of the fingerprint of the source and of all keys of the others."""
    return self._fingerprint

  @functools.cached_property
  def _fingerprint(self) -> str:
    digest = hashlib.blake2b(self._source.fingerprint.encode(), digest_size=16)
    digest.update(_RULE)
    for key in sorted(self._forbidden):
      digest.update(b"\0" + key.encode())
    return digest.hexdigest()

  def __iter__(self) -> Iterator[Record]:
    removed = kept = 0
    for record in self._source:
      if self._forbidden.isdisjoint(self._keys(record)):
        kept += 1
        yield record
      else:
        removed += 1
    if removed and not kept:
      raise UserError(
        f"data.remove_overlap left out all {removed:,} records of data.train: each is in "
        "data.validation or data.test as well; name other data, or turn it off"
      )
    self.removed = removed

  @functools.cached_property
  def _forbidden(self) -> frozenset[str]:
    records = itertools.chain.from_iterable(self._others)
    keys = itertools.chain.from_iterable(map(self._keys, records))
    return frozenset(key for key in keys if any(map(str.isalnum, key)))

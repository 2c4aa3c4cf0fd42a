"""Training records that share something with what a model is tested on, left out."""

import functools
import hashlib
import itertools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tfx_jax.errors import UserError
from tfx_jax.sources.reader import Reader


class _Letters(dict):
  """Table for `str.translate` that keeps letters, digits and the marks that are part of them.

  Marks are the vowel signs of many scripts, and accents that no letter has built in. Those that
  only choose a glyph (variation selectors) or enclose one are left out.
  """

  def __missing__(self, code: int) -> int | None:
    character = chr(code)
    mark = unicodedata.category(character) in ("Mn", "Mc")
    selector = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
    self[code] = code if character.isalnum() or (mark and not selector) else None
    return self[code]


_LETTERS = _Letters()
# Changes when `normalise` does: other records are then left out of the same data.
_RULE = b"NFC, with marks"


def normalise(text: str) -> str:
  """Returns the letters, digits and marks of a text, in lower case and composed (NFC).

  Texts that are alike but for the rest, or for how their accents are coded, are the same.
  """
  return unicodedata.normalize("NFC", text).lower().translate(_LETTERS)


class WithoutOverlap:
  """A reader without the records that have a key in common with a record of others.

  Args:
    reader: of training records.
    others: readers of what is validated and tested on.
    keys: what of a record must not be in both, as texts; those without letters and digits do not
      count.

  Raises:
    UserError: while iterating, at the end, if no record is left.

  Attributes:
    removed: records left out when it was last read from beginning to end; None before.
  """

  def __init__(
    self,
    reader: Reader,
    others: Sequence[Reader],
    keys: Callable[[Mapping[str, str]], Iterable[str]],
  ):
    self._reader, self._others, self._keys = reader, others, keys
    self.removed: int | None = None

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hash of the reader's fingerprint and of all keys of the others."""
    digest = hashlib.blake2b(self._reader.fingerprint.encode(), digest_size=16)
    digest.update(_RULE)
    for key in sorted(self._forbidden):
      digest.update(b"\0" + key.encode())
    return digest.hexdigest()

  def __iter__(self) -> Iterator[dict[str, str]]:
    removed = kept = 0
    for record in self._reader:
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

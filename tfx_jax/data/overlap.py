"""Training records that share something with what a model is tested on, left out."""

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tfx_jax.data.reader import Reader

_OTHER = re.compile(r"[\W_]+")


def normalise(text: str) -> str:
  """The letters and digits of a text, lowercased: texts alike but for the rest are the same."""
  return _OTHER.sub("", text.lower())


class WithoutOverlap:
  """A reader without the records that have a key in common with a record of others.

  Args:
    reader: of training records.
    others: readers of what is validated and tested on.
    keys: what of a record must not be in both, as texts; those without letters and digits do not
      count.

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
    for key in sorted(self._forbidden):
      digest.update(b"\0" + key.encode())
    return digest.hexdigest()

  def __iter__(self) -> Iterator[dict[str, str]]:
    removed = 0
    for record in self._reader:
      if self._forbidden.isdisjoint(self._keys(record)):
        yield record
      else:
        removed += 1
    self.removed = removed

  @functools.cached_property
  def _forbidden(self) -> frozenset[str]:
    records = itertools.chain.from_iterable(self._others)
    keys = itertools.chain.from_iterable(map(self._keys, records))
    return frozenset(key for key in keys if normalise(key))

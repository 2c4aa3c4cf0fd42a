"""Validation and test data held out from the training data, by the content of each record."""

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from tfx_jax.errors import UserError
from tfx_jax.sources.parts import Part
from tfx_jax.sources.source import Record, Source
from tfx_jax.sources.text_files import FilesSource

_HASHES = 1 << 64  # number of hashes


def hold_out(source: Source, split: str, held: Sequence[str], share: float) -> Source:
  """Returns the records of a split of training data from which other splits are held out.

  Whether a record is held out depends on a hash of its content alone: equal records are in one
  split, and records that are added move no others. Of a single file of text, which is one record,
  the end is held out.

  Args:
    source: all records.
    split: 'train' or one of `held`.
    held: the splits that are held out: 'validation', 'test' or both.
    share: the expected share of the records, or the share of the text, of each of them.
  """
  if isinstance(source, FilesSource) and len(source.files) == 1:
    return source.part(tail_part(split, held, share))
  return HeldOut(source, split, held, share)


def tail_part(split: str, held: Sequence[str], share: float) -> Part:
  """Returns the part of a text that is a split, if those of `held` are its end, in order."""
  percent = 100 * Fraction(str(share))
  borders = [100 - percent * (len(held) - number) for number in range(len(held) + 1)]
  if split not in held:
    return Part(end=borders[0])
  place = list(held).index(split)
  return Part(borders[place], borders[place + 1])


class HeldOut:
  """The records of one split, see `hold_out`.

  A split that is held out has at least one record, so that few records are enough.

  Raises:
    UserError: at the end of an iteration, if there are too few different records.
  """

  def __init__(self, source: Source, split: str, held: Sequence[str], share: float) -> None:
    self._source, self._split, self._held, self._share = source, split, tuple(held), share

  @property
  def fingerprint(self) -> str:
    """A hash of the fingerprint of the source, the splits and the share."""
    parts = (self._source.fingerprint, self._split, *self._held, str(self._share))
    return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()

  def __iter__(self) -> Iterator[Record]:
    lowest, highest = self._limits()
    found = False
    for record in self._source:
      place = content_hash(record)
      if place < lowest:
        split = "validation"
      else:
        split = "test" if place >= highest else "train"
      if split == self._split:
        found = True
        yield record
    if not found:
      raise UserError(
        f"data.train has too few different records to hold out {' and '.join(self._held)}: "
        f"name files in {' and '.join(f'data.{split}' for split in self._held)}"
      )

  def _limits(self) -> tuple[int, int]:
    """Returns the hash below which records are validation, and that from which they are test."""
    size = int(self._share * _HASHES)
    lowest, highest = _HASHES, -1
    for record in self._source:
      place = content_hash(record)
      lowest, highest = min(lowest, place), max(highest, place)
      if lowest < size and highest >= _HASHES - size:
        break
    return (
      max(size, lowest + 1) if "validation" in self._held else 0,
      min(_HASHES - size, highest) if "test" in self._held else _HASHES,
    )


def content_hash(record: Record) -> int:
  """Returns a hash of the fields of a record, 0 to 2^64 - 1, the same in every process."""
  digest = hashlib.blake2b(digest_size=8)
  for field in sorted(record):
    for part in (field.encode(), _content(record[field])):
      digest.update(len(part).to_bytes(8, "big") + part)
  return int.from_bytes(digest.digest(), "big")


def _content(value: object) -> bytes:
  if isinstance(value, str):
    return value.encode()
  if isinstance(value, bytes):
    return value
  if isinstance(value, np.ndarray):
    return f"{value.shape}{value.dtype.str}".encode() + value.tobytes()
  return repr(value).encode()

"""Parts of data by percentage, such as PATH[:90%]: of one text, of several files or of records."""

import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from tfx_jax.errors import UserError
from tfx_jax.sources.source import Record, Source

# PATH[:90%] and PATH[99.5%:], as in TensorFlow Datasets; and what may be an attempt to write that.
_PART = re.compile(r"(.*)\[(?:(\d+(?:\.\d+)?)%)?:(?:(\d+(?:\.\d+)?)%)?\]")
_LIKE_PART = re.compile(r".*\[[^\[\]]*:[^\[\]]*\]")


class Part(NamedTuple):
  """A part from one percentage to another; two parts share nothing if their intervals do not."""

  start: Fraction = Fraction(0)
  end: Fraction = Fraction(100)

  def bounds(self, count: int) -> tuple[int, int]:
    """Returns the index of the first of `count` things in this part, and of the first behind it."""
    return int(count * self.start / 100), int(count * self.end / 100)

  def within(self, outer: "Part") -> "Part":
    """Returns this part of another part."""
    width = (outer.end - outer.start) / 100
    return Part(outer.start + self.start * width, outer.start + self.end * width)

  def __str__(self) -> str:
    return f"[{float(self.start):g}%:{float(self.end):g}%]"


WHOLE = Part()


def split_part(path: str) -> tuple[str, Part]:
  """Returns a path without the [:90%] at its end, and this part, or the whole if there is none.

  Raises:
    UserError: for a part that is written in another way or empty.
  """
  match = _PART.fullmatch(path)
  if not match:
    if _LIKE_PART.fullmatch(path) and not os.path.exists(path):
      raise UserError(f"{path}: a part is in percent, such as [:90%] or [99.5%:]")
    return path, WHOLE
  plain, start, end = match.groups()
  part = Part(Fraction(start or 0), Fraction(end or 100))
  if not 0 <= part.start < part.end <= 100:
    raise UserError(f"{path}: a part is from a lower to a higher share, of 0% to 100%")
  return plain, part


def check_part(part: Part, count: int, things: str, origin: str) -> tuple[int, int]:
  """Returns the bounds of a part of `count` things, such as files.

  Raises:
    UserError: if it has none of them.
  """
  first, last = part.bounds(count)
  if first == last:
    raise UserError(f"{origin}{part} is empty: there are {count} {things} to take it from")
  return first, last


class PartOfRecords:
  """A part of the records of a source, in their order.

  Args:
    source: the records; they are counted first, which reads all of them.
    part: the part of their number.
    origin: their path, for errors.

  Raises:
    UserError: while iterating, if the part has no record.
  """

  def __init__(self, source: Source, part: Part, origin: str) -> None:
    self._source, self._part, self._origin = source, part, origin

  @property
  def fingerprint(self) -> str:
    """A hash of the fingerprint of the source and of the part."""
    text = f"{self._source.fingerprint}[{self._part.start}:{self._part.end}]"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

  def __iter__(self) -> Iterator[Record]:
    fingerprint = self._source.fingerprint
    if fingerprint not in _counts:
      _counts[fingerprint] = sum(1 for _ in self._source)
    first, last = check_part(self._part, _counts[fingerprint], "records", self._origin)
    yield from itertools.islice(self._source, first, last)


# Numbers of records of sources by fingerprint, in this process.
_counts: dict[str, int] = {}

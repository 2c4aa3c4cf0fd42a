"""Records whose pictures all have one size and number of channels."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from tfx_jax.common.picture_files import fit
from tfx_jax.sources.source import Record, Source


class FittedPictures:
  """The records of a source, with pictures fitted to one shape; a message says how many were.

  Args:
    source: records with pictures, uint8 [h,w,c].
    shape: (H, W, C).
    how: treatment of pictures of another size, see `common/picture_files.py: FITS`.
  """

  def __init__(self, source: Source, shape: Sequence[int], how: str) -> None:
    self._source, self._shape, self._how = source, tuple(shape), how

  @property
  def fingerprint(self) -> str:
    """A hash of the source's fingerprint, the shape and the treatment."""
    parts = self._source.fingerprint, self._shape, self._how
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()

  def __iter__(self) -> Iterator[Record]:
    sizes: set[tuple[int, ...]] = set()
    count = 0
    for number, record in enumerate(self._source, 1):
      name = str(record.get("file_name", f"picture {number}"))
      fitted: dict[str, Any] = {}
      for field, value in record.items():
        if isinstance(value, np.ndarray) and value.shape != self._shape:
          value = fit(value, self._shape, self._how, name)
          sizes.add(record[field].shape)
          count += 1
        fitted[field] = value
      yield fitted
    if count:
      _report(self.fingerprint, count, tuple(sorted(sizes)), self._shape)


@functools.lru_cache  # only once, although records are read several times
def _report(
  fingerprint: str, count: int, shapes: tuple[tuple[int, ...], ...], shape: tuple[int, ...]
) -> None:
  del fingerprint
  several = f"{len(shapes)} shapes, such as {list(shapes[0])}" if shapes[1:] else f"{[*shapes[0]]}"
  logging.warning("%d picture(s) of %s fitted to %s", count, several, list(shape))

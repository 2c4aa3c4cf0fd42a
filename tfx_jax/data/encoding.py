"""Encoding: examples are written to the files of a corpus, in one pass and bounded memory."""

import collections
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tfx_jax.codecs.codec import AnyValue, Codec, Element, Elements
from tfx_jax.common.heartbeat import beat
from tfx_jax.common.json_object import JsonObject
from tfx_jax.data.cache import cache_errors
from tfx_jax.data.example import Example, Pair
from tfx_jax.data.truncation import Truncation
from tfx_jax.errors import UserError

OFFSET = "<i8"
_CHUNK = 1 << 14  # examples in memory at a time


def file_paths(folder: str, side: str) -> tuple[str, str]:
  """Returns the files of a side, "source" or "target": of its elements and of its offsets."""
  return os.path.join(folder, f"{side}_values.bin"), os.path.join(folder, f"{side}_offsets.bin")


class _Side:
  """The sources or the targets while they are written."""

  def __init__(self, folder: str, name: str, codec: Codec) -> None:
    self.name, self.codec, self.element = name, codec, codec.element
    self.paths = file_paths(folder, name)
    self.size = self.written = 0

  def encode(self, values: Sequence[AnyValue]) -> Sequence[Elements]:
    """Returns the sequence of each value, an empty one for None and for blank texts."""
    kept = ["" if isinstance(value, str) and not value.strip() else value for value in values]
    present = [value for value in kept if value is not None]
    encoded = iter(self.codec.encode(present) if present else [])
    return [[] if value is None else next(encoded) for value in kept]

  def append(self, sequences: Sequence[Elements]) -> None:
    """Writes sequences."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    values = _joined(sequences, self.element)
    ends = (self.size + np.cumsum(lengths)).astype(OFFSET)
    if not self.written:
      ends = np.concatenate([np.zeros(1, OFFSET), ends])
    # Opened anew for each chunk: a handle kept open could fail in closing, past all handling.
    for path, array in zip(self.paths, (values, ends), strict=True):
      with open(path, "ab") as file:
        file.write(array.data)
    self.size += len(values)
    self.written += len(sequences)

  @property
  def facts(self) -> JsonObject:
    """Entries of the report: length, dtype and shape of the file of elements."""
    return {
      f"{self.name}_elements": self.size,
      f"{self.name}_dtype": self.element.storage_dtype.str,
      f"{self.name}_shape": self.element.shape,
    }


def _joined(sequences: Sequence[Elements], element: Element) -> np.ndarray:
  """Returns the sequences end to end, [sum of lengths, *shape]."""
  if element.shape:
    dtype, shape = element.storage_dtype, element.shape
    return np.concatenate([np.asarray(s, dtype).reshape(len(s), *shape) for s in sequences])
  # Lists of ids, without an array for each.
  return np.fromiter(itertools.chain.from_iterable(sequences), element.storage_dtype)


def write_pairs(
  examples: Iterable[Example],
  codecs: tuple[Codec, Codec],
  truncation: Truncation,
  folder: str,
  cache_dir: str,
) -> JsonObject:
  """Writes all pairs that are kept, and returns the report, see `Corpus`.

  Args:
    examples: the examples, read once.
    codecs: codecs of sources and of targets.
    truncation: decides what is kept.
    folder: an empty folder, to write to.
    cache_dir: the folder above it, for errors.

  Raises:
    UserError: if no pair is left, or `folder` cannot be written.
  """
  start = time.monotonic()
  sources, targets = _Side(folder, "source", codecs[0]), _Side(folder, "target", codecs[1])
  counts, sizes = collections.Counter(), collections.Counter()
  examples = iter(examples)
  while chunk := list(itertools.islice(examples, _CHUNK)):
    beat()
    pairs = list(_pairs(chunk, sources, targets, truncation, counts, sizes))
    if pairs:
      with cache_errors(cache_dir):
        sources.append([source for source, _ in pairs])
        targets.append([target for _, target in pairs])
  if not targets.written:
    raise UserError(
      f"no pair is left of the {counts['read']} read: {counts['empty']} with an empty side, "
      f"{counts['too_long']} longer than data.source_length={truncation.max_source_length} or "
      f"data.target_length={truncation.max_target_length}"
    )
  return {
    "pairs_read": counts["read"],
    "pairs_kept": targets.written,
    "pairs_cut": counts["cut"],
    "pairs_too_long": counts["too_long"],
    "pairs_empty": counts["empty"],
    **sources.facts,
    **targets.facts,
    **{f"target_{unit}": size for unit, size in sizes.items()},
    "seconds": round(time.monotonic() - start, 3),
  }


def _pairs(
  chunk: Sequence[Example],
  sources: _Side,
  targets: _Side,
  truncation: Truncation,
  counts: collections.Counter,
  sizes: collections.Counter,
) -> Iterator[Pair]:
  """Yields the pairs of some examples, and counts examples in `counts`, targets kept in `sizes`."""
  encoded_sources = sources.encode([example.source for example in chunk])
  encoded_targets = targets.encode([example.target for example in chunk])
  for example, source, target in zip(chunk, encoded_sources, encoded_targets, strict=True):
    given = None if example.source is None else source
    pairs = truncation.pairs(given, target, (sources.element, targets.element))
    counts["read"] += 1
    if isinstance(pairs, str):
      counts[pairs] += 1
      continue
    yield from pairs
    counts["cut"] += given is not None and truncation.cuts(given, sources.element)
    for unit, size in targets.codec.measure(example.target).items():
      sizes[unit] += size

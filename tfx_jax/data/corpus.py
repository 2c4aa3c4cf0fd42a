"""A corpus: examples encoded once, into memory-mapped arrays in a folder named by their content."""

import dataclasses
import functools
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tfx_jax.codecs.codec import Codec
from tfx_jax.common.json_object import JsonObject
from tfx_jax.data.cache import cache_errors, remove_old
from tfx_jax.data.chains import chain_offsets
from tfx_jax.data.encoding import OFFSET, file_paths, write_pairs
from tfx_jax.data.example import Example
from tfx_jax.data.ragged import Ragged
from tfx_jax.data.truncation import Truncation

_FORMAT = 4
_REPORT = "report.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
  """The encoded pairs of one split, special tokens included.

  Attributes:
    sources: elements of the sources, memory-mapped; sequences are empty if the task has no source.
    targets: elements of the targets; target i belongs to source i.
    report: `records_removed` by the source of records; `pairs_read`, `pairs_kept`, `pairs_cut`,
      `pairs_too_long`, `pairs_empty`; `source_elements` and `target_elements` of the kept pairs;
      sizes of the targets kept, of texts `target_bytes` (UTF-8) and `target_words`; `seconds` that
      it took to encode.
    folder: the folder that holds it.
  """

  sources: Ragged
  targets: Ragged
  report: JsonObject
  folder: str = ""

  @functools.cached_property
  def chains(self) -> np.ndarray:
    """Starts of the chains of pairs, see `chain_offsets`."""
    return chain_offsets(self.sources, self.targets)


def prepare(
  examples: Iterable[Example],
  fingerprint: str,
  source_codec: Codec,
  target_codec: Codec,
  cache_dir: str,
  max_source_length: int,
  max_target_length: int,
  long_sources: str = "drop",
  context: bool = False,
  records_removed: Callable[[], int] = lambda: 0,
) -> Corpus:
  """Opens the encoded corpus in the cache, or encodes it, in one pass and bounded memory.

  Examples with an empty side are dropped and counted, and so are those that are too long, see
  `Truncation`. Several processes may encode the same corpus at once: the first to finish wins.

  Args:
    examples: the examples; not read if the cache has them already.
    fingerprint: a hash of everything that decides what `examples` yields.
    source_codec: encodes sources.
    target_codec: encodes targets.
    cache_dir: the folder of corpora, each in a folder named by the hash of what it is made from.
    max_source_length: most elements of a source, special tokens included.
    max_target_length: most elements of a target, special tokens included; 0 for no limit.
    long_sources: see `Truncation`.
    context: see `Truncation`.
    records_removed: returns how many records were left out of `examples`; called at the end.

  Raises:
    UserError: if no pair is left, or `cache_dir` cannot be written.
  """
  truncation = Truncation(max_source_length, max_target_length, long_sources, context)
  codecs = source_codec, target_codec
  name = f"corpus-{_key(fingerprint, codecs, truncation)}"
  folder = os.path.join(cache_dir, name)
  building = os.path.join(cache_dir, f"tmp-{name}-{uuid.uuid4().hex}")
  with cache_errors(cache_dir):
    if corpus := _open(folder):
      return corpus
    os.makedirs(cache_dir, exist_ok=True)
    remove_old(cache_dir, "tmp-corpus-*")
    os.mkdir(building)
  try:
    report = {"format": _FORMAT}
    report |= write_pairs(examples, codecs, truncation, building, cache_dir)
    report["records_removed"] = records_removed()
    with cache_errors(cache_dir):
      _publish(building, folder, report)
      if corpus := _open(folder):
        return corpus
      raise OSError(f"{folder} cannot be read back")
  finally:
    shutil.rmtree(building, ignore_errors=True)


def _key(fingerprint: str, codecs: Sequence[Codec], truncation: Truncation) -> str:
  """Returns a hash of everything that decides the content of a corpus."""
  codec_parts = [[codec.fingerprint, codec.element.fingerprint_parts] for codec in codecs]
  parts = [_FORMAT, fingerprint, codec_parts, dataclasses.astuple(truncation)]
  return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _publish(building: str, folder: str, report: JsonObject) -> None:
  """Renames the finished folder to its final name, at once."""
  with open(os.path.join(building, _REPORT), "w") as file:
    json.dump(report, file)
  for entry in os.scandir(building):
    with open(entry.path, "rb+") as file:
      os.fsync(file.fileno())
  if os.path.lexists(folder) and _open(folder) is None:
    damaged = f"{building}-damaged"
    os.rename(folder, damaged)
    shutil.rmtree(damaged, ignore_errors=True)
  try:
    os.rename(building, folder)
  except OSError:
    if _open(folder) is None:  # otherwise another process has finished it meanwhile
      raise


def _open(folder: str) -> Corpus | None:
  """Returns the corpus in `folder`, or None where it is missing, incomplete or damaged."""
  try:
    with open(os.path.join(folder, _REPORT)) as file:
      report = json.load(file)
    sources, targets = (_map_side(folder, name, report) for name in ("source", "target"))
  except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
    return None
  return Corpus(sources, targets, report, folder)


def _map_side(folder: str, side: str, report: JsonObject) -> Ragged:
  values, offsets = file_paths(folder, side)
  shape = (report[f"{side}_elements"], *report[f"{side}_shape"])
  return Ragged(
    _map(values, report[f"{side}_dtype"], shape),
    _map(offsets, OFFSET, (report["pairs_kept"] + 1,)),
  )


def _map(path: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
  if os.path.getsize(path) != math.prod(shape) * np.dtype(dtype).itemsize:
    raise ValueError(f"{path} has another size")
  # An empty file, such as the sources of a task without them, cannot be mapped.
  return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.zeros(shape, dtype)

"""A corpus read once and tokenised once, into memory-mapped arrays keyed by content."""

import collections
import contextlib
import dataclasses
import functools
import glob
import hashlib
import itertools
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.common.heartbeat import beat
from tfx_jax.data.chains import chain_offsets
from tfx_jax.data.example import Example
from tfx_jax.data.fitting import encoded, kept
from tfx_jax.data.ragged import Ragged
from tfx_jax.errors import UserError

_FORMAT = 3
_REPORT = "report.json"
_OFFSET = "<i8"
_CHUNK = 1 << 14  # pairs in memory at a time
_OLD_SECONDS = 24 * 3600


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
  """The tokenised pairs of one split.

  Texts have their special_tokens. A source is empty where a text is only written.

  Attributes:
    sources: token ids of the sources, memory-mapped.
    targets: those of the targets; target i belongs to source i.
    report: records_removed before; pairs_read, pairs_kept, pairs_cut, pairs_too_long, pairs_empty;
      source_tokens and target_tokens (kept ones, with EOS); target_bytes (of UTF-8) and
      target_words (between spaces) of the texts kept; seconds the making took.
    folder: that holds it.
  """

  sources: Ragged
  targets: Ragged
  report: dict[str, Any]
  folder: str = ""

  @functools.cached_property
  def chains(self) -> np.ndarray:
    """Where the chains of its pairs begin, see `chain_offsets`."""
    return chain_offsets(self.sources, self.targets)


def prepare(
  examples: Iterable[Example],
  fingerprint: str,
  source_tokenizer: Tokenizer,
  target_tokenizer: Tokenizer,
  cache_dir: str,
  max_source_length: int,
  max_target_length: int,
  long_sources: str = "drop",
  context: bool = False,
  records_removed: Callable[[], int] = lambda: 0,
) -> Corpus:
  """Opens the tokenised corpus in the cache, or makes it there, in one pass and a bounded memory.

  Pairs with an empty side and pairs longer than allowed are dropped and counted. A text that is
  only written is not dropped but split into pieces that are as long as allowed. Whoever makes the
  same corpus at the same time does no harm: the first to finish wins.

  Args:
    examples: the pairs; not touched if the cache has them already.
    fingerprint: of all that decides what `examples` yields.
    source_tokenizer: for the sources.
    target_tokenizer: for the targets.
    cache_dir: where corpora are kept, each in a folder named by the hash of what it is made from.
    max_source_length: longest source kept, in tokens with EOS.
    max_target_length: longest target kept, in tokens with EOS; 0: any.
    long_sources: "drop" for dropping pairs with a longer source, "cut_end" or "cut_start" for
      leaving out the end or the beginning of the source.
    context: whether the source of a piece is what comes before it in its text; else it has none.
    records_removed: how many records `examples`, read to the end, has left out; for the report.

  Raises:
    UserError: if no pair is left, or `cache_dir` cannot be written.
  """
  prints = [fingerprint, source_tokenizer.fingerprint, target_tokenizer.fingerprint]
  special_tokens = [source_tokenizer.special_tokens, target_tokenizer.special_tokens]
  lengths = [max_source_length, max_target_length, long_sources, context]
  key = json.dumps([_FORMAT, *prints, *special_tokens, *lengths]).encode()
  name = f"corpus-{hashlib.blake2b(key, digest_size=16).hexdigest()}"
  folder = os.path.join(cache_dir, name)
  building = os.path.join(cache_dir, f"tmp-{name}-{uuid.uuid4().hex}")
  with _using(cache_dir):
    if corpus := _open(folder):
      return corpus
    os.makedirs(cache_dir, exist_ok=True)
    remove_old(cache_dir, "tmp-corpus-*")
    os.mkdir(building)
  try:
    sources = _Side(building, "source", source_tokenizer, max_source_length)
    targets = _Side(building, "target", target_tokenizer, max_target_length)
    report = _build(examples, sources, targets, cache_dir, long_sources, context)
    report["records_removed"] = records_removed()
    with _using(cache_dir):
      _publish(building, folder, report)
      if corpus := _open(folder):
        return corpus
      raise OSError(f"{folder} cannot be read back")
  finally:
    shutil.rmtree(building, ignore_errors=True)


class _Side:
  """The sources or the targets while they are written."""

  def __init__(self, folder: str, name: str, tokenizer: Tokenizer, longest: int) -> None:
    self.name, self.tokenizer, self.longest = name, tokenizer, longest
    self.paths = _paths(folder, name)
    self.dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<i4")
    self.size = self.written = 0

  def append(self, sequences: list[list[int]]) -> None:
    """Writes sequences of ids."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    stream = itertools.chain.from_iterable(sequences)
    tokens = np.fromiter(stream, self.dtype, int(lengths.sum()))
    ends = (self.size + np.cumsum(lengths)).astype(_OFFSET)
    if not self.written:
      ends = np.concatenate([np.zeros(1, _OFFSET), ends])
    # Opened anew for each chunk: a handle kept open could fail in closing, past all handling.
    for path, array in zip(self.paths, (tokens, ends), strict=True):
      with open(path, "ab") as file:
        file.write(array)
    self.size += len(tokens)
    self.written += len(sequences)


def _build(
  examples: Iterable[Example],
  sources: _Side,
  targets: _Side,
  cache_dir: str,
  long_sources: str,
  context: bool,
) -> dict[str, Any]:
  """Writes all pairs that are kept; returns the report."""
  start = time.monotonic()
  counts = collections.Counter(read=0, empty=0, too_long=0, cut=0, bytes=0, words=0)
  examples = iter(examples)
  special_tokens = sources.tokenizer.special_tokens, targets.tokenizer.special_tokens
  while chunk := list(itertools.islice(examples, _CHUNK)):
    beat()
    counts["read"] += len(chunk)
    pairs = []
    for example, source, target in encoded(chunk, sources.tokenizer, targets.tokenizer):
      fitting = kept(
        source, target, sources.longest, targets.longest, long_sources, context, special_tokens
      )
      if isinstance(fitting, str):
        counts[fitting] += 1
        continue
      pairs += fitting
      counts["cut"] += (
        source is not None and len(special_tokens[0].as_source(source)) > sources.longest
      )
      counts["bytes"] += len(example.target.encode())
      counts["words"] += len(example.target.split())
    if pairs:
      with _using(cache_dir):
        sources.append([source for source, _ in pairs])
        targets.append([target for _, target in pairs])
  if not targets.written:
    raise UserError(
      f"no pair is left of the {counts['read']} read: {counts['empty']} with an empty side, "
      f"{counts['too_long']} longer than data.source_length={sources.longest} or "
      f"data.target_length={targets.longest} tokens"
    )
  return {
    "format": _FORMAT,
    "pairs_read": counts["read"],
    "pairs_kept": targets.written,
    "pairs_cut": counts["cut"],
    "pairs_too_long": counts["too_long"],
    "pairs_empty": counts["empty"],
    "source_tokens": sources.size,
    "target_tokens": targets.size,
    "target_bytes": counts["bytes"],
    "target_words": counts["words"],
    "source_dtype": sources.dtype.str,
    "target_dtype": targets.dtype.str,
    "seconds": round(time.monotonic() - start, 3),
  }


def _publish(building: str, folder: str, report: dict[str, Any]) -> None:
  """Makes the finished folder visible under its name, all at once."""
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
    if _open(folder) is None:  # else somebody else has finished it meanwhile
      raise


def _open(folder: str) -> Corpus | None:
  """Returns the corpus in `folder`, or None where it is missing, incomplete or damaged."""
  try:
    with open(os.path.join(folder, _REPORT)) as file:
      report = json.load(file)
    sides = [_map(folder, name, report) for name in ("source", "target")]
  except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
    return None
  return Corpus(*sides, report, folder)


def _map(folder: str, side: str, report: dict[str, Any]) -> Ragged:
  arrays = []
  sizes = (report[f"{side}_tokens"], report["pairs_kept"] + 1)
  for path, dtype, size in zip(
    _paths(folder, side), (report[f"{side}_dtype"], _OFFSET), sizes, strict=True
  ):
    if os.path.getsize(path) != size * np.dtype(dtype).itemsize:
      raise ValueError(f"{path} is cut")
    # Nothing cannot be mapped: where texts are only written, there are no source tokens.
    arrays.append(np.memmap(path, dtype, "r", shape=(size,)) if size else np.zeros(0, dtype))
  return Ragged(*arrays)


def _paths(folder: str, side: str) -> tuple[str, str]:
  return os.path.join(folder, f"{side}_tokens.bin"), os.path.join(folder, f"{side}_offsets.bin")


def remove_old(cache_dir: str, pattern: str) -> None:
  """Deletes the folders of this pattern that nobody has written to for a day."""
  for folder in glob.glob(os.path.join(glob.escape(cache_dir), pattern)):
    with contextlib.suppress(OSError):
      paths = [folder, *(entry.path for entry in os.scandir(folder))]
      if time.time() - max(map(os.path.getmtime, paths)) > _OLD_SECONDS:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _using(cache_dir: str) -> Iterator[None]:
  """Tells a full disk, missing rights and the like as the error of the setting they are."""
  try:
    yield
  except OSError as error:
    message = f"cannot use data.cache_dir={cache_dir}: {error.strerror or error}"
    raise UserError(message) from error

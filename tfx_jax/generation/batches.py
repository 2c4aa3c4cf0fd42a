"""Inputs of all lengths in few shapes: groups of similar length."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfx_jax.codecs.codec import Elements
from tfx_jax.data.layout import Layout
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.models.model import Prompt
from tfx_jax.parallel import Parallel

# Elements that an output may always have, beyond its prefix, whatever the ratio to its source.
SPARE_LENGTH = 10
# Initial capacity of a cache, in steps.
FIRST_CACHE_LENGTH = 16
# Most hypotheses of a batch on a CPU. More fill its cores no better, but more rows of a batch have
# ended and wait for the last one.
CPU_HYPOTHESES = 80


class Group(NamedTuple):
  """Inputs that are decoded together.

  Attributes:
    members: numbers of the inputs.
    length: length that prompts are padded to.
    rows: B, at least the number of members.
    long: whether `length` is more than the least of `prompt_lengths`.
  """

  members: np.ndarray
  length: int
  rows: int
  long: bool = False

  @property
  def filled(self) -> np.ndarray:
    """Numbers of the inputs in all rows [B]; the last member fills up the batch."""
    return np.pad(self.members, (0, self.rows - len(self.members)), mode="edge")

  @property
  def active(self) -> np.ndarray:
    """False for rows that only fill up the batch, bool [B]."""
    return np.arange(self.rows) < len(self.members)


def prompt_lengths(longest: int) -> list[int]:
  """Returns the lengths that prompts are padded to: about 1/4, 1/2 and all of `longest`.

  They are multiples of 8. More lengths would save padding, but each costs programs to compile.
  """
  return sorted({-(-longest * quarters // 32) * 8 for quarters in (1, 2, 4)})


def group(
  prompts: Sequence[Elements], settings: GenerateSettings, parallel: Parallel, width: int
) -> list[Group]:
  """Returns groups of similar length; empty prompts are in none.

  The first group of each length comes first, that of the commonest length before all: its batches
  run while the programs of the other lengths are compiled. The rest follow, longest first.

  Args:
    prompts: the inputs, with special tokens.
    settings: settings of generation.
    parallel: the mesh, which the rows are split over.
    width: W, hypotheses of each input.
  """
  lengths = np.array([len(prompt) for prompt in prompts], int)
  order = np.argsort(-lengths, kind="stable")
  order = order[lengths[order] > 0]
  if not len(order):
    return []
  rows = _rows(len(order), settings.batch_size, parallel, width)
  buckets = np.array(prompt_lengths(settings.max_source_length))
  bucket = np.searchsorted(buckets, lengths[order])
  by_length: list[list[Group]] = []
  start = 0
  while start < len(order):
    # The last batch of a length is filled up from the next shorter one.
    count = np.count_nonzero(bucket[start:] == bucket[start])
    members = order[start : start + -(-count // rows) * rows]
    length = int(buckets[bucket[start]])
    by_length.append(
      [
        Group(members[first : first + rows], length, rows, length > buckets[0])
        for first in range(0, len(members), rows)
      ]
    )
    start += len(members)
  by_length.sort(key=len, reverse=True)
  rest = (group for groups in by_length for group in groups[1:])
  longest_first = sorted(rest, key=lambda group: -group.length)
  return [groups[0] for groups in by_length] + longest_first


def _rows(inputs: int, batch_size: int, parallel: Parallel, width: int) -> int:
  """Returns the rows of a batch: `batch_size`, or an eighth of it where that is enough.

  On a CPU there are at most `CPU_HYPOTHESES` hypotheses in a batch.
  """

  def split(rows: int) -> int:
    return -(-rows // parallel.batch_shards) * parallel.batch_shards

  small = split(-(-batch_size // 8))
  if inputs <= small:
    return small
  if parallel.on_cpu:
    batch_size = min(batch_size, max(CPU_HYPOTHESES // width, 1))
  return split(batch_size)


def max_length(prompt: int, prefix: int, settings: GenerateSettings) -> int:
  """Returns the most elements of an output, given the lengths of its prompt and prefix."""
  ratio = settings.max_length_ratio
  if not ratio:
    return settings.max_length
  return min(settings.max_length, max(math.ceil(ratio * prompt), prefix) + SPARE_LENGTH)


def cache_lengths(capacity: int, long_prompts: bool) -> tuple[int, ...]:
  """Returns the capacities that a cache grows through, in steps, for outputs of up to `capacity`.

  There are three, that grow by one factor. Outputs of longer prompts are mostly longer, so their
  caches begin with the second, which saves programs.

  Args:
    capacity: T, most elements of an output.
    long_prompts: whether prompts are padded to more than the least of `prompt_lengths`.
  """
  first = min(FIRST_CACHE_LENGTH, capacity)
  middle = -(-math.isqrt(first * capacity) // 8) * 8  # a multiple of 8
  lengths = sorted({first, min(middle, capacity), capacity})
  return tuple(lengths[1:] or lengths if long_prompts else lengths)


def place_prompts(
  layout: Layout, prompts: Sequence[Elements], length: int, parallel: Parallel
) -> Prompt:
  """Returns prompts, a row each and padded to `length`, as the model reads them, on the devices."""
  return Prompt(**parallel.place_whole(layout.prompts(prompts, length)))

"""Prompts of all lengths as few shapes: groups of similar length, and the arrays of a group."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfx_jax.data.layout import Layout
from tfx_jax.generation.settings import GenerateSettings

# Tokens that an output may always have, whatever the ratio to its source, or beyond a prefix.
SPARE_LENGTH = 10


class Group(NamedTuple):
  """Inputs that are decoded together.

  Attributes:
    members: their numbers.
    length: that prompts are padded to.
    rows: B, at least as many as members.
  """

  members: np.ndarray
  length: int
  rows: int


def prompt_lengths(longest: int) -> list[int]:
  """The lengths prompts are padded to, multiples of 8: about 1/4, 3/8, 1/2, 3/4 and all."""
  return sorted({-(-longest * eighths // 64) * 8 for eighths in (2, 3, 4, 6, 8)})


def group(prompts: Sequence[Sequence[int]], settings: GenerateSettings, shards: int) -> list[Group]:
  """Groups of similar length, longest first; empty prompts are in none.

  Args:
    prompts: token lists.
    settings: of generation.
    shards: what the number of rows must be a multiple of.
  """
  lengths = np.array([len(prompt) for prompt in prompts], int)
  order = np.argsort(-lengths, kind="stable")
  order = order[lengths[order] > 0]
  if not len(order):
    return []
  full = -(-settings.batch_size // shards) * shards
  small = -(-settings.batch_size // (8 * shards)) * shards
  rows = small if len(order) <= small else full
  buckets = np.array(prompt_lengths(settings.max_source_length))
  bucket = np.searchsorted(buckets, lengths[order])
  groups, start = [], 0
  while start < len(order):
    # The last batch of a length is filled up from the next shorter one.
    count = np.count_nonzero(bucket[start:] == bucket[start])
    members = order[start : start + -(-count // rows) * rows]
    length = int(buckets[bucket[start]])
    for first in range(0, len(members), rows):
      groups.append(Group(members[first : first + rows], length, rows))
    start += len(members)
  return groups


def model_arrays(
  group: Group, prompts: Sequence[Sequence[int]], layout: Layout
) -> dict[str, np.ndarray]:
  """What the model reads: the prompts of a group, and those that only fill up the batch."""
  filled = [prompts[i] for i in group.members] + [[0]] * (group.rows - len(group.members))
  return layout.prompts(filled, group.length)


def search_arrays(
  group: Group,
  prompts: Sequence[Sequence[int]],
  prefixes: Sequence[Sequence[int]] | None,
  settings: GenerateSettings,
) -> tuple[dict[str, np.ndarray], int]:
  """What a search is told of each row, and T, the room for tokens that it needs.

  Returns:
    `number` (of the input), `active`, `min_length`, `max_length` [B], and with prefixes `prefix`
    [B,T] and `prefix_length` [B]; T.
  """
  rows, count = group.rows, len(group.members)
  given = [prefixes[i] if prefixes else [] for i in group.members]
  longest = [
    _limit(len(prompts[i]), len(start), settings)
    for i, start in zip(group.members, given, strict=True)
  ]
  room = _limit(group.length, max(map(len, given)), settings)
  arrays = {
    "number": np.pad(group.members.astype(np.int32), (0, rows - count)),
    "active": np.arange(rows) < count,
    "min_length": np.full(rows, settings.min_length, np.int32),
    "max_length": np.array(longest + [room] * (rows - count), np.int32),
  }
  if prefixes:
    filled = [list(p) + [0] * (room - len(p)) for p in given] + [[0] * room] * (rows - count)
    arrays["prefix"] = np.array(filled, np.int32)
    arrays["prefix_length"] = np.array([*map(len, given)] + [0] * (rows - count), np.int32)
  return arrays, room


def _limit(prompt: int, prefix: int, settings: GenerateSettings) -> int:
  """Most tokens of an output, given the lengths of its prompt and prefix."""
  ratio = settings.max_length_ratio
  if not ratio:
    return settings.max_length
  return min(settings.max_length, max(math.ceil(ratio * prompt), prefix) + SPARE_LENGTH)

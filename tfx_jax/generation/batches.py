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


class Group(NamedTuple):
  """Inputs that are decoded together.

  Attributes:
    members: numbers of the inputs.
    length: length that prompts are padded to.
    rows: B, at least the number of members.
  """

  members: np.ndarray
  length: int
  rows: int

  @property
  def filled(self) -> np.ndarray:
    """Numbers of the inputs in all rows [B]; the last member fills up the batch."""
    return np.pad(self.members, (0, self.rows - len(self.members)), mode="edge")

  @property
  def active(self) -> np.ndarray:
    """False for rows that only fill up the batch, bool [B]."""
    return np.arange(self.rows) < len(self.members)


def prompt_lengths(longest: int) -> list[int]:
  """Returns the lengths that prompts are padded to: about 1/4, 3/8, 1/2, 3/4 and all of `longest`.

  They are multiples of 8.
  """
  return sorted({-(-longest * eighths // 64) * 8 for eighths in (2, 3, 4, 6, 8)})


def group(prompts: Sequence[Elements], settings: GenerateSettings, shards: int) -> list[Group]:
  """Returns groups of similar length, longest first; empty prompts are in none.

  Args:
    prompts: the inputs, with special tokens.
    settings: settings of generation.
    shards: the number of rows must be a multiple of this.
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


def max_length(prompt: int, prefix: int, settings: GenerateSettings) -> int:
  """Returns the most elements of an output, given the lengths of its prompt and prefix."""
  ratio = settings.max_length_ratio
  if not ratio:
    return settings.max_length
  return min(settings.max_length, max(math.ceil(ratio * prompt), prefix) + SPARE_LENGTH)


def place_prompts(
  layout: Layout, prompts: Sequence[Elements], group: Group, parallel: Parallel
) -> Prompt:
  """Returns the prompts of a group as the model reads them, on the devices."""
  arrays = layout.prompts([prompts[number] for number in group.filled], group.length)
  return Prompt(**parallel.place_whole(arrays))

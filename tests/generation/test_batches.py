import dataclasses

import numpy as np
import pytest

from tfx_jax.codecs.special_tokens import BOS, EOS
from tfx_jax.data.layout import EncoderDecoderLayout
from tfx_jax.generation import batches
from tfx_jax.generation.settings import GenerateSettings

SETTINGS = GenerateSettings(
  max_source_length=24, max_length=20, max_length_ratio=0.5, batch_size=16, min_length=3
)


@pytest.fixture(scope="module")
def sources():
  rng = np.random.default_rng(0)
  return [[*rng.integers(4, 9, n - 1), EOS] if n else [] for n in rng.integers(0, 25, 50).tolist()]


def test_sources_are_padded_to_few_lengths():
  assert batches.prompt_lengths(8) == [8]
  assert batches.prompt_lengths(24) == [8, 16, 24]
  assert batches.prompt_lengths(100) == [32, 40, 56, 80, 104]


@pytest.mark.parametrize("shards", [1, 8, 3])
def test_every_source_that_is_not_empty_is_in_one_group(sources, shards):
  groups = batches.group(sources, SETTINGS, shards)
  members = np.concatenate([group.members for group in groups]).tolist()
  assert sorted(members) == [i for i, source in enumerate(sources) if source]
  for group in groups:
    assert 0 < len(group.members) <= group.rows and group.rows % shards == 0
    assert max(len(sources[i]) for i in group.members) <= group.length
  assert len({group.rows for group in groups}) == 1 and len({g.length for g in groups}) == 3
  assert batches.group([[], []], SETTINGS, 1) == []


def test_a_few_sources_make_a_small_batch(sources):
  (group,) = batches.group([[], [5, EOS], [4, 4, EOS]], SETTINGS, 1)
  assert group.rows == 2 and group.members.tolist() == [2, 1]


def test_the_model_reads_the_sources_and_bos(sources):
  group = batches.Group(np.array([3, 5]), 24, 4)
  arrays = batches.model_arrays(group, sources, EncoderDecoderLayout(8, 8))
  for row, source in enumerate([sources[3], sources[5], [0], [0]]):
    assert arrays["inputs"][row].tolist() == source + [0] * (24 - len(source))
    assert arrays["inputs_segments"][row].sum() == len(source)
  assert arrays["prompt"].tolist() == [[BOS]] * 4


def test_a_row_has_its_number_and_its_bounds():
  sources = [[4] * 24, [4] * 7, [4], [4] * 10]
  group = batches.Group(np.array([3, 1]), 16, 3)
  arrays, room = batches.search_arrays(group, sources, None, SETTINGS)
  assert room == 18 and "prefix" not in arrays
  assert {name: array.tolist() for name, array in arrays.items()} == {
    "number": [3, 1, 0],
    "active": [True, True, False],
    "min_length": [3] * 3,
    "max_length": [15, 14, 18],
  }
  endless = dataclasses.replace(SETTINGS, max_length_ratio=0.0)
  arrays, room = batches.search_arrays(group, sources, None, endless)
  assert room == 20 and arrays["max_length"].tolist() == [20] * 3


def test_a_prefix_has_room_whatever_the_source():
  sources = [[4] * 2] * 3
  group = batches.Group(np.array([2, 0, 1]), 8, 4)
  arrays, room = batches.search_arrays(group, sources, [[5] * 3, [], [6] * 9], SETTINGS)
  assert room == 19 and arrays["max_length"].tolist() == [19, 13, 11, 19]
  assert arrays["prefix_length"].tolist() == [9, 3, 0, 0]
  assert [np.trim_zeros(row).tolist() for row in arrays["prefix"]] == [[6] * 9, [5] * 3, [], []]
  assert arrays["prefix"].shape == (4, 19)

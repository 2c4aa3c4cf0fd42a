from types import SimpleNamespace

import numpy as np
import pytest

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.generation import batches
from tfx_jax.generation.settings import GenerateSettings

SETTINGS = GenerateSettings(
  max_source_length=24, max_length=20, max_length_ratio=0.5, batch_size=16, min_length=3
)
# Hypotheses of an input.
WIDTH = 5


def mesh(shards=1, on_cpu=False):
  return SimpleNamespace(batch_shards=shards, on_cpu=on_cpu)


@pytest.fixture(scope="module")
def sources():
  rng = np.random.default_rng(0)
  return [[*rng.integers(4, 9, n - 1), EOS] if n else [] for n in rng.integers(0, 25, 50).tolist()]


def test_sources_are_padded_to_few_lengths():
  assert batches.prompt_lengths(8) == [8]
  assert batches.prompt_lengths(24) == [8, 16, 24]
  assert batches.prompt_lengths(100) == [32, 56, 104]


def test_caches_grow_through_few_capacities_by_one_factor(monkeypatch):
  monkeypatch.setattr(batches, "FIRST_CACHE_LENGTH", 16)
  assert batches.cache_lengths(64, long_prompts=False) == (16, 32, 64)
  assert batches.cache_lengths(64, long_prompts=True) == (32, 64)
  assert batches.cache_lengths(1024, long_prompts=False) == (16, 128, 1024)
  assert batches.cache_lengths(20, long_prompts=True) == (20,)
  for capacity in range(1, 200):
    for long_prompts in (False, True):
      *shorter, last = batches.cache_lengths(capacity, long_prompts)
      assert last == capacity and shorter == sorted({*shorter}) and len(shorter) <= 2
      assert all(0 < length < capacity for length in shorter)


@pytest.mark.parametrize("shards", [1, 8, 3])
def test_every_source_that_is_not_empty_is_in_one_group(sources, shards):
  groups = batches.group(sources, SETTINGS, mesh(shards), WIDTH)
  members = np.concatenate([group.members for group in groups]).tolist()
  assert sorted(members) == [i for i, source in enumerate(sources) if source]
  for group in groups:
    assert 0 < len(group.members) <= group.rows and group.rows % shards == 0
    assert max(len(sources[i]) for i in group.members) <= group.length
  assert len({group.rows for group in groups}) == 1 and len({g.length for g in groups}) == 3
  assert batches.group([[], []], SETTINGS, mesh(), WIDTH) == []


def test_the_first_groups_have_all_lengths_the_commonest_first(sources):
  many = sources * 3 + [[5] * 20 + [EOS]] * 100
  groups = batches.group(many, SETTINGS, mesh(), WIDTH)
  lengths = [group.length for group in groups]
  assert lengths[0] == 24 and sorted(lengths[:3]) == [8, 16, 24]
  assert lengths[3:] == sorted(lengths[3:], reverse=True) and lengths.count(24) > 6


@pytest.mark.parametrize(("width", "rows"), [(1, 16), (10, 8), (100, 1)])
def test_on_a_cpu_a_batch_has_a_bounded_number_of_hypotheses(sources, width, rows):
  assert {group.rows for group in batches.group(sources, SETTINGS, mesh(on_cpu=True), width)} == {
    rows
  }
  assert {group.rows for group in batches.group(sources, SETTINGS, mesh(), width)} == {16}
  for shards in (3, 8):
    for group in batches.group(sources, SETTINGS, mesh(shards, on_cpu=True), width):
      assert group.rows % shards == 0


def test_a_few_sources_make_a_small_batch(sources):
  (group,) = batches.group([[], [5, EOS], [4, 4, EOS]], SETTINGS, mesh(), WIDTH)
  assert group.rows == 2 and group.members.tolist() == [2, 1]

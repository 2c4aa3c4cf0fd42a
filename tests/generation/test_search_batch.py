"""The batch of a search: a row for each input, and the numbers that the search is traced with."""

import numpy as np
import pytest

from tfx_jax.codecs.special_tokens import BOS, EOS
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.data.layout import EncoderDecoderLayout
from tfx_jax.decoding.beam import BeamSettings
from tfx_jax.decoding.diverse import DiverseSettings
from tfx_jax.decoding.sample import SampleSettings
from tfx_jax.generation.batches import Group
from tfx_jax.generation.request import Request
from tfx_jax.generation.search_batch import make_search_batch
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.generation.text.constraints import make_constraints
from tfx_jax.parallel import Parallel

CODEC = CharacterTokenizer("abcdef")
LENGTHS = {"max_source_length": 24, "max_length": 20, "max_length_ratio": 0.5, "min_length": 3}


@pytest.fixture(scope="module")
def parallel():
  return Parallel()


def make(parallel, members, length=16, prompts=((4,), (5,), (6,)), prefixes=None, **settings):
  settings = GenerateSettings(**settings)
  prompts = [[*ids, EOS] for ids in prompts]
  request = Request(
    settings,
    EncoderDecoderLayout(8, 8),
    CODEC,
    prompts,
    prefixes or [[]] * len(prompts),
    make_constraints(CODEC, settings),
  )
  return make_search_batch(request, Group(np.array(members), length, 8), parallel)


def numbers(parallel, **settings):
  return make(parallel, [0, 1, 2], **settings)[0].settings


def test_the_last_input_fills_up_the_batch_in_rows_that_are_not_active(parallel):
  prompts = [[4] * 23, [4, 5] * 3]
  batch, _ = make(parallel, [1, 0], 24, prompts)
  assert batch.active.tolist() == [True, True, *[False] * 6]
  for row, prompt in enumerate([prompts[1], *[prompts[0]] * 7]):
    assert batch.prompt["inputs"][row].tolist() == [*prompt, EOS] + [0] * (23 - len(prompt))
    assert batch.prompt["inputs_segments"][row].sum() == len(prompt) + 1
  assert batch.prompt["prompt"].tolist() == [[BOS]] * 8


def test_a_row_has_its_number_and_its_bounds(parallel):
  prompts = [[4] * 23, [4] * 6, [4], [4] * 9]
  batch, shape = make(parallel, [3, 1], 16, prompts, **LENGTHS, search="sample")
  assert shape.capacity == 18 and batch.settings.rules.prefix is None
  assert batch.settings.sampling.number.tolist()[:3] == [3, 1, 1]
  assert batch.settings.rules.min_length.tolist() == [3] * 8
  assert batch.settings.rules.max_length.tolist()[:3] == [15, 14, 14]
  batch, shape = make(parallel, [3, 1], 16, prompts, **LENGTHS | {"max_length_ratio": 0.0})
  assert shape.capacity == 20 and batch.settings.rules.max_length.tolist() == [20] * 8


def test_outputs_have_capacity_for_a_prefix_of_any_length(parallel):
  prefixes = [[5] * 3, [], [6] * 9]
  batch, shape = make(parallel, [2, 0, 1], 8, [[4]] * 3, prefixes, **LENGTHS)
  rules = batch.settings.rules
  assert shape.capacity == 19 and rules.max_length.tolist()[:4] == [19, 13, 11, 11]
  assert rules.prefix_length.tolist()[:4] == [9, 3, 0, 0]
  rows = [np.trim_zeros(row).tolist() for row in np.asarray(rules.prefix)[:4]]
  assert rows == [[6] * 9, [5] * 3, [], []] and rules.prefix.shape == (8, 19)


def test_the_settings_choose_the_search(parallel):
  assert type(numbers(parallel)) is BeamSettings
  assert type(numbers(parallel, beam_groups=2)) is DiverseSettings
  greedy = numbers(parallel, beam_size=1)
  assert type(greedy) is SampleSettings and greedy.sampling is None
  assert numbers(parallel, search="mbr", seed=7).sampling.seed == 7


@pytest.mark.parametrize(
  ("name", "value"), [("top_k", 3), ("top_p", 0.5), ("min_p", 0.1), ("typical_p", 0.5)]
)
def test_a_truncation_is_in_the_program_only_if_it_is_switched_on(parallel, name, value):
  assert getattr(numbers(parallel, search="sample").sampling.truncation, name) is None
  settings = numbers(parallel, search="sample", **{name: value})
  np.testing.assert_allclose(getattr(settings.sampling.truncation, name), [value] * 8)


@pytest.mark.parametrize(
  ("name", "value"),
  [("no_repeat_ngram_size", 3), ("repetition_penalty", 1.5), ("presence_penalty", -0.5)],
)
def test_a_rule_is_in_the_program_only_if_it_is_switched_on(parallel, name, value):
  for settings in ({}, {"beam_size": 1}, {"search": "sample"}):
    assert getattr(numbers(parallel, **settings).rules, name) is None
    assert getattr(numbers(parallel, **settings, **{name: value}).rules, name) == value

import numpy as np
import pytest

from tfx_jax.decoding.beam import BeamSettings
from tfx_jax.decoding.diverse import DiverseSettings
from tfx_jax.decoding.sample import SampleSettings
from tfx_jax.generation.search_settings import search_settings
from tfx_jax.generation.settings import GenerateSettings

ARRAYS = {name: np.arange(3, dtype=np.int32) for name in ("number", "min_length", "max_length")}


def numbers(**settings):
  return search_settings(GenerateSettings(**settings), np.zeros(5, bool), None, ARRAYS, eos=(1,))


def test_the_settings_choose_the_search():
  assert type(numbers()) is BeamSettings
  assert type(numbers(beam_groups=2)) is DiverseSettings
  assert numbers(beam_size=1).sampling is None and type(numbers(beam_size=1)) is SampleSettings
  assert numbers(search="sample").sampling.number.tolist() == [0, 1, 2]
  assert numbers(search="mbr", seed=7).sampling.seed == 7


@pytest.mark.parametrize(
  ("name", "value"), [("top_k", 3), ("top_p", 0.5), ("min_p", 0.1), ("typical_p", 0.5)]
)
def test_what_truncates_is_in_the_program_where_it_is_switched_on(name, value):
  assert getattr(numbers(search="sample").sampling.truncation, name) is None
  found = getattr(numbers(search="sample", **{name: value}).sampling.truncation, name)
  np.testing.assert_allclose(found, [value] * 3)


@pytest.mark.parametrize(
  ("name", "value"),
  [("no_repeat_ngram_size", 3), ("repetition_penalty", 1.5), ("presence_penalty", -0.5)],
)
def test_so_are_rules(name, value):
  for settings in ({}, {"beam_size": 1}, {"search": "sample"}):
    assert getattr(numbers(**settings).rules, name) is None
    assert getattr(numbers(**settings, **{name: value}).rules, name) == value

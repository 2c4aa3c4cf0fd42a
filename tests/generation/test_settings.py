import subprocess
import sys

import numpy as np
import pytest

from tfx_jax import builders
from tfx_jax.errors import UserError
from tfx_jax.generation.settings import GenerateSettings

SETTINGS = GenerateSettings(beam_size=4, num_return=4)
SAMPLING = {"search": "sample"}


@pytest.mark.parametrize(
  ("changes", "told"),
  [
    ({"beam_sise": 2}, "'beam_sise', did you mean 'beam_size'?"),
    ({"search": "mbr", "num_samples": 3}, "num_return=4 is more than generate.num_samples=3"),
    ({"beam_size": 0}, "generate.beam_size=0"),
    ({"max_length": 0}, "generate.max_length=0"),
    ({"batch_size": -1}, "generate.batch_size=-1"),
    ({"length_penalty_form": "gmnt"}, "'gmnt', did you mean 'gnmt'?"),
    ({"coverage_penalty": -1.0}, "generate.coverage_penalty=-1.0: use 0 to 1000000"),
    ({"coverage_penalty": float("inf")}, "generate.coverage_penalty=inf: use 0 to 1000000"),
    (SAMPLING | {"coverage_penalty": 0.5}, "generate.coverage_penalty=0.5 has no effect"),
    ({"search": "beem"}, "generate.search='beem', did you mean 'beam'?"),
    ({"temperature": 0.7}, "generate.temperature=0.7 has no effect with generate.search='beam'"),
    ({"top_k": 5}, "generate.top_k=5 has no effect with generate.search='beam'"),
    ({"top_p": 0.9}, "generate.top_p=0.9 has no effect with generate.search='beam'"),
    ({"seed": 3}, "generate.seed=3 has no effect with generate.search='beam'"),
    (SAMPLING | {"num_samples": 8}, "generate.num_samples=8 has no effect"),
    (SAMPLING | {"temperature": 0.0}, "generate.temperature=0.0: use 1e-30 to 1000000"),
    (SAMPLING | {"top_p": 0.0}, "generate.top_p=0.0: use 1e-30 to 1"),
    (SAMPLING | {"top_p": 1.5}, "generate.top_p=1.5: use 1e-30 to 1"),
    (SAMPLING | {"top_k": -1}, "generate.top_k=-1: use 0 to 2147483647"),
    (SAMPLING | {"seed": 2**32}, "generate.seed=4294967296: use 0 to 4294967295"),
    (SAMPLING | {"min_p": 1.5}, "generate.min_p=1.5: use 0 to 1"),
    (SAMPLING | {"typical_p": 0.0}, "generate.typical_p=0.0: use 1e-30 to 1"),
    ({"min_p": 0.1}, "generate.min_p=0.1 has no effect with generate.search='beam'"),
    ({"typical_p": 0.1}, "generate.typical_p=0.1 has no effect with generate.search='beam'"),
    ({"presence_penalty": 2.5}, "generate.presence_penalty=2.5: use -2 to 2"),
    ({"beam_groups": 0}, "generate.beam_groups=0: use 1 to 2147483647"),
    ({"beam_groups": 3}, "generate.beam_groups=3 does not divide generate.beam_size=4"),
    ({"beam_groups": 2, "diversity_penalty": 0.0}, "diversity_penalty=0.0: use 1e-30 to"),
    ({"diversity_penalty": 1.0}, "=1.0 has no effect with generate.beam_groups=1"),
    (SAMPLING | {"beam_groups": 2}, "generate.beam_groups=2 has no effect with generate.search="),
    ({"stop": ("\n",)}, "generate.stop=('\\n',) does not go with generate.beam_size=4: use 1"),
    (SAMPLING | {"stop": "\n"}, "generate.stop='\\n': use a tuple of texts"),
    (SAMPLING | {"stop": ("a", "")}, "generate.stop=('a', ''): use a tuple of texts, none of them"),
    ({"forbidden_phrases": ("",)}, "generate.forbidden_phrases=('',): use a tuple of texts"),
    ({"stream": True}, "generate.stream=True does not go with generate.beam_size=4: use 1"),
    (SAMPLING | {"stream": True}, "generate.stream=True shows one output"),
    ({"no_repeat_ngram_size": -1}, "generate.no_repeat_ngram_size=-1: use 0 to"),
    ({"repetition_penalty": 0.0}, "generate.repetition_penalty=0.0: use 1e-06 to 1000000"),
    ({"forbidden": "<unk>"}, "generate.forbidden='<unk>': use a tuple of texts"),
    (
      {"beam_size": 1, "stop": ("a",)},
      "generate.stop=('a',) does not go with generate.num_return=4: use 1",
    ),
    ({"beam_size": 2.0}, "generate.beam_size=2.0 is float, not int"),
    ({"beam_size": None}, "generate.beam_size=None is NoneType, not int"),
    ({"beam_size": True}, "generate.beam_size=True is bool, not int"),
    ({"beam_size": [4]}, "generate.beam_size=[4] is list, not int"),
    ({"length_penalty": "0.6"}, "generate.length_penalty='0.6' is str, not float"),
    ({"search": b"beam"}, "generate.search=b'beam' is bytes, not str"),
    ({"stop": None}, "generate.stop=None: use a tuple of texts"),
    ({"forbidden": (3,)}, "generate.forbidden=(3,): use a tuple of pieces"),
    ({"seed": np.arange(99)}, " is ndarray, not int"),
  ],
)
def test_settings_that_make_no_sense_are_one_line(changes, told):
  with pytest.raises(UserError) as info:
    SETTINGS.replace(**changes)
  assert told in str(info.value) and "\n" not in str(info.value)


def test_settings_of_the_search_that_is_not_chosen_may_stay():
  """What a run's configuration says of its beams does not keep anyone from sampling."""
  sampling = SETTINGS.replace(search="sample", num_return=9, temperature=0.7, top_k=5, seed=1)
  assert sampling.width == 9 and SETTINGS.width == 4
  assert SETTINGS.replace(search="mbr", num_samples=64, top_p=0.9).width == 64


def test_the_settings_are_the_keys_of_the_configuration(small):
  assert builders.make_generate_settings(small.config) == GenerateSettings(
    beam_size=4,
    num_return=4,
    max_source_length=24,
    max_length=16,
    max_length_ratio=0.5,
    batch_size=64,
  )


def test_importing_the_settings_imports_no_jax():
  """The configuration takes its defaults from here, and its files are read without JAX."""
  check = (
    "import sys; from tfx_jax.generation.settings import GenerateSettings; GenerateSettings(); "
    "sys.exit(any(name in sys.modules for name in ('jax', 'flax', 'numpy')))"
  )
  assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_numpys_numbers_and_any_collection_are_taken():
  settings = SETTINGS.replace(
    beam_size=np.int64(5), length_penalty=np.float32(0.5), early_stopping=np.True_,
    forbidden=(name for name in ("a", "b")), max_length_ratio=1,
  )  # fmt: skip
  assert settings.beam_size == 5 and type(settings.beam_size) is int
  assert settings.length_penalty == 0.5 and type(settings.length_penalty) is float
  assert settings.early_stopping is True and settings.forbidden == ("a", "b")


@pytest.mark.parametrize(
  ("changes", "width"),
  [
    ({"beam_size": 2, "num_return": 3}, 3),
    ({"beam_size": 1, "num_return": 3}, 3),
    ({"beam_size": 4, "num_return": 3}, 4),
    ({"beam_size": 1, "num_return": 1}, 1),
    # Groups are of equal size, and each keeps its share, rounded up.
    ({"beam_size": 6, "beam_groups": 3, "num_return": 7}, 9),
    ({"beam_size": 6, "beam_groups": 3, "num_return": 6}, 6),
    ({"search": "sample", "beam_size": 1, "num_return": 3}, 3),
    ({"search": "mbr", "num_samples": 7, "num_return": 3}, 7),
  ],
)
def test_a_search_is_wide_enough_for_what_it_returns(changes, width):
  settings = GenerateSettings(**changes)
  assert settings.width == width
  assert settings.greedy == (width == 1)
  if settings.search == "beam" and width > 1:
    assert settings.replace(early_stopping=True).pool == width

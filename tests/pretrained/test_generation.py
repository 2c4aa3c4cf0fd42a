"""What generation_config.json says, in our settings and back."""

import pytest

from tfx_jax.config import base
from tfx_jax.errors import UserError
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.pretrained import generation

# As of a decoder that begins with a start token and a forced one.
GIVEN, FORCED = 2, 1
BEAMS = {"num_beams": 5, "length_penalty": 1.5, "early_stopping": True, "no_repeat_ngram_size": 3}
DRAWS = {"do_sample": True, "temperature": 0.7, "top_k": 9, "top_p": 0.9, "min_p": 0.05}


def read(**values):
  return generation.read(values, "generation_config.json", GIVEN)


def test_beams_are_read():
  found = read(**BEAMS, num_return_sequences=2, repetition_penalty=1.2)
  expected = {"beam_size": 5, "length_penalty": 1.5, "length_penalty_form": "power"}
  expected |= {"early_stopping": True, "no_repeat_ngram_size": 3, "num_return": 2}
  assert found == found | expected | {"repetition_penalty": 1.2, "max_length_ratio": 0.0}
  assert read(num_beams=2, early_stopping="never")["early_stopping"] is False
  assert read(num_beams=1, early_stopping=True)["early_stopping"] is False
  GenerateSettings(**found)


def test_draws_are_read_with_the_defaults_there():
  found = read(**DRAWS)
  assert found == found | {name: x for name, x in DRAWS.items() if name != "do_sample"}
  assert found["search"] == "sample" and read(do_sample=True)["top_k"] == 50
  GenerateSettings(**found)


@pytest.mark.parametrize(
  ("values", "most", "least"),
  [
    ({}, 128, 1),
    # All tokens count, but EOS may come once there are so many.
    ({"max_length": 20, "min_length": 6}, 18, 5),
    # All but the start are new.
    ({"max_new_tokens": 20, "min_new_tokens": 6}, 19, 6),
    ({"max_length": 20, "max_new_tokens": 7}, 6, 1),
  ],
)
def test_lengths_count_generated_tokens(values, most, least):
  found = read(**values)
  assert (found["max_length"], found["min_length"]) == (most, least)


@pytest.mark.parametrize("values", [BEAMS, DRAWS, {"max_new_tokens": 30, "min_new_tokens": 9}])
def test_written_settings_are_read_again(values):
  settings = base().generate.to_dict() | read(**values)
  assert base().generate.to_dict() | read(**generation.write(settings, FORCED)) == settings


@pytest.mark.parametrize(
  ("values", "named"),
  [
    ({"penalty_alpha": 0.6}, "penalty_alpha=0.6"),
    ({"num_beam_groups": 2}, "num_beam_groups=2"),
    ({"begin_suppress_tokens": [3]}, r"begin_suppress_tokens=\[3\]"),
    ({"do_sample": True, "num_beams": 3}, "num_beams=3"),
  ],
)
def test_an_unsupported_setting_is_refused(values, named):
  with pytest.raises(UserError, match=f"^generation_config.json: {named} is not supported"):
    read(**values)


def test_suppressed_are_single_tokens():
  values = {"suppress_tokens": [9, 4], "bad_words_ids": [[5], [4]]}
  assert generation.suppressed(values, "f", 10) == [4, 5, 9]
  with pytest.raises(UserError, match=r"^f: bad_words_ids of several tokens"):
    generation.suppressed({"bad_words_ids": [[1, 2]]}, "f", 10)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"max_new_tokens": -1}, "max_new_tokens=-1: use 1 or more"),
    ({"max_length": 0}, "max_length=0: use 1 or more"),
    ({"min_new_tokens": -2}, "min_new_tokens=-2: use 0 or more"),
    ({"max_new_tokens": "9"}, "max_new_tokens='9': use 1 or more"),
  ],
)
def test_invalid_lengths_are_refused(values, message):
  with pytest.raises(UserError, match=f"^generation_config.json: {message}"):
    read(**values)


def test_a_penalty_that_rewards_repetition_is_read():
  assert GenerateSettings(**read(repetition_penalty=0.9)).repetition_penalty == 0.9


def test_null_is_the_default():
  names = (*BEAMS, *DRAWS, "max_new_tokens", "max_length", "min_length", "repetition_penalty")
  names += ("num_return_sequences", "diversity_penalty", "guidance_scale", "stop_strings")
  assert read(**dict.fromkeys(names)) == read()
  drawn = dict.fromkeys(DRAWS) | {"do_sample": True}
  assert read(**drawn) == read(do_sample=True)
  assert generation.suppressed(dict.fromkeys(("suppress_tokens", "bad_words_ids")), "f", 9) == []


def test_ids_that_are_suppressed_exist():
  with pytest.raises(UserError, match=r"^f: bad_words_ids holds 9: use ids below 9"):
    generation.suppressed({"bad_words_ids": [[3], [9]]}, "f", 9)

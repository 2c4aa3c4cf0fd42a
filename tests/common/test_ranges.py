"""Every number of the configuration has a range, and nothing outside of it is let through."""

import math
import re
from math import inf, nan

import pytest
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.common.ranges import RANGES
from tfx_jax.config import base
from tfx_jax.errors import UserError
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.training.optimizer import make_optimizer


def numeric_keys(config, prefix=""):
  for name, value in config.items():
    if hasattr(value, "items"):
      yield from numeric_keys(value, f"{prefix}{name}.")
    elif isinstance(value, int | float) and not isinstance(value, bool):
      yield f"{prefix}{name}", value


KEYS = dict(numeric_keys(base()))


def changed(key, value):
  config = make_config()
  *section, name = key.split(".")
  with config.ignore_type():
    (config[section[0]] if section else config)[name] = value
  return config


def outside(allowed):
  """Values on both sides of a range, the nearest and the farthest."""
  if allowed.whole:
    return [allowed.low - 1, allowed.high + 1, -(2**63), 2**63, 10**400]
  infinities = [math.inf, -math.inf]
  nearest = [math.nextafter(allowed.low, -math.inf), math.nextafter(allowed.high, math.inf)]
  return [*nearest, *infinities, math.nan, 1e300, -1e300]


def failure(function, *args, **settings):
  with pytest.raises(UserError) as info:
    function(*args, **settings)
  assert "\n" not in str(info.value)
  return str(info.value)


def test_every_number_has_a_range_that_holds_its_default():
  assert RANGES.keys() - KEYS.keys() == {"optimizer.scale"}
  assert KEYS.keys() - RANGES.keys() == set()
  for key, value in KEYS.items():
    assert RANGES[key].low <= value <= RANGES[key].high
    assert RANGES[key].whole == isinstance(value, int)


@pytest.mark.parametrize("key", KEYS)
def test_what_is_outside_of_a_range_is_one_line_that_says_the_range(key):
  allowed = RANGES[key]
  for value in outside(allowed):
    assert failure(validate, changed(key, value)) == f"{key}={value}: use {allowed}"
  for value in (math.nan, math.inf, 1.5, True, None, "1") if allowed.whole else (None, "1"):
    assert failure(validate, changed(key, value)).startswith(f"{key}={value!r} is ")


@pytest.mark.parametrize("key", KEYS)
def test_the_ends_of_a_range_are_inside(key):
  for value in (RANGES[key].low, RANGES[key].high):
    try:
      validate(changed(key, value))
    except UserError as error:  # of keys that must fit each other
      assert f"use {RANGES[key]}" not in str(error)


@pytest.mark.parametrize("key", [key for key in KEYS if not RANGES[key].whole])
def test_no_number_becomes_0_in_float32(key):
  message = failure(validate, changed(key, 1e-40))
  assert re.match(rf"{key}=1e-40(: use | is 0 in float32: use 0, or 1.2e-38 and more)", message)


@pytest.mark.parametrize("key", [key for key in KEYS if key.startswith("generate.")])
def test_the_python_api_knows_the_same_ranges(key):
  for value in outside(RANGES[key]):
    message = failure(GenerateSettings, **{key.removeprefix("generate."): value})
    assert message == f"{key}={value}: use {RANGES[key]}"
  for value in ("1", None, True):
    message = failure(GenerateSettings, **{key.removeprefix("generate."): value})
    assert message.startswith(f"{key}={value!r} is {type(value).__name__}, not ")


@pytest.mark.parametrize(
  ("form", "length", "bound"), [("power", 16, 24.9), ("gnmt", 128, 22.2), ("power", 128, 14.2)]
)
def test_a_length_penalty_keeps_all_scores_in_float32(form, length, bound):
  settings = {"length_penalty_form": form, "max_length": length}
  for sign in (1, -1):
    GenerateSettings(length_penalty=sign * bound, **settings)
    value = sign * round(bound + 0.1, 1)
    message = failure(GenerateSettings, length_penalty=value, **settings)
    told = f"use -{bound} to {bound}, for generate.max_length={length}"
    assert message == f"generate.length_penalty={value}: {told}"


@pytest.mark.parametrize(
  ("name", "value"),
  [("b2", 1.0), ("b1", nan), ("eps_root", inf), ("eps", 0), ("weight_decay", -1)],
)
def test_numbers_of_optimizer_settings_and_groups_have_the_ranges_of_their_keys(name, value):
  numbers = {name: value}
  settings = failure(make_optimizer, lambda step: 0.1, "adamw", settings=numbers)
  groups = failure(make_optimizer, lambda step: 0.1, "adamw", groups=(("kernel", numbers),))
  for key, message in (("settings", settings), ("groups", groups)):
    assert message.startswith(f"optimizer.{key}: {name}=") and ": use " in message
  scaled = failure(make_optimizer, lambda step: 0.1, "adamw", groups=(("kernel", {"scale": inf}),))
  assert scaled == "optimizer.groups: scale=inf: use 0 to 1000000"


@pytest.mark.parametrize("value", [("linear", nan), ("linear", inf), ("llama3", 8, 1, inf, 8192)])
def test_numbers_of_rotary_scaling_are_finite(value):
  message = failure(builders.rotary_scaling, value)
  assert message.startswith(f"model.rotary_scaling={value!r}: use ")


@pytest.mark.parametrize("value", ["4", (-1,), (2**31,), (True,), (4.0,)])
def test_windows_are_numbers_that_int32_holds(value):
  assert failure(builders.windows, value, 2).startswith(f"model.windows={value!r}: use ")

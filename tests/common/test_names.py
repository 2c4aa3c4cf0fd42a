"""Names of code of the user's own."""

import shutil
import subprocess
from typing import Protocol

import pytest

from tfx_jax.common.names import (
  KEYS,
  check_members,
  check_parameters,
  check_trust,
  imported,
  members,
  trusting,
)
from tfx_jax.config import base
from tfx_jax.errors import UserError


class Lamp(Protocol):
  """Something to be asked for."""

  colour: str

  @property
  def power(self) -> float:
    """In watts."""
    ...

  def __iter__(self): ...


class Torch:
  colour = "red"

  def __init__(self):
    self.computed = 0

  @property
  def power(self):
    self.computed += 1


def failure(function, *args):
  with pytest.raises(UserError) as info:
    function(*args)
  assert "\n" not in str(info.value)
  return str(info.value)


@pytest.mark.parametrize("key", KEYS)
def test_a_folder_names_code_only_where_it_is_trusted(key):
  config = base()
  check_trust("x/config.json", config)
  section, name = key.split(".")
  plain = config[section][name]
  config[section][name] = ("bleu", "a.b:C") if isinstance(plain, tuple) else "a.b:C"
  told = failure(check_trust, "x/config.json", config)
  assert told.startswith(f"x/config.json names code to run, {key}='a.b:C'") and "--trust" in told
  check_trust("x/config.json", config, given=[key])
  with trusting(True), trusting(False):
    check_trust("x/config.json", config)
  with trusting(False):
    assert failure(check_trust, "x/config.json", config)


def test_no_other_key_is_obeyed():
  with pytest.raises(LookupError, match=r"model\.norm"):
    imported("model.norm", "shutil:rmtree", ())


def test_a_name_means_a_class_or_function():
  assert imported("data.format", "shutil:rmtree", ()) is shutil.rmtree
  for name, told in (
    ("csv", "unknown, did you mean 'tsv'? (your own: package.module:Name)"),
    ("my.Reader", "(your own: package.module:Name)"),
    ("a b:c", "unknown"),
    (":c", "unknown"),
    ("no_such.module:c", "cannot import 'no_such.module': No module named 'no_such'"),
    ("shutil:rmtre", "shutil has no class or function 'rmtre', did you mean 'rmtree'?"),
    ("string:digits", "string has no class or function 'digits'"),
  ):
    message = failure(imported, "data.format", name, ("tsv", "jsonl"))
    assert message.startswith(f"data.format='{name}'") and told in message


def test_parameters_are_known_by_their_names():
  def one(path, fields, more=3): ...

  class AnyOfThem:
    def __init__(self, **settings): ...

  for function in (one, AnyOfThem):
    check_parameters("data.format", "n", function, ("path", "fields"))
  for function in (shutil.rmtree, subprocess.call, dict.fromkeys, lambda a, b: 0):
    told = failure(check_parameters, "data.format", "n", function, ("path", "fields"))
    assert told.startswith("data.format='n' cannot be called with (path, fields): ")


def test_members_are_those_of_the_protocol_and_none_is_computed():
  assert members(Lamp) == ["colour", "power", "__iter__"]
  torch = Torch()
  told = failure(check_members, "task.name", "n", torch, "lamp", members(Lamp))
  assert told == "task.name='n' is no lamp: it has no __iter__"
  check_members("task.name", "n", torch, "lamp", ["colour", "power", "computed"])
  assert torch.computed == 0

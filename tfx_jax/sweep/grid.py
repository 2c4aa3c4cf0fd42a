"""Combinations of settings: from lists of values to configurations."""

import copy
import itertools
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from tfx_jax.config.override import override
from tfx_jax.errors import UserError

# Most bytes of a file name in common file systems.
_LONGEST_NAME = 255


class Cell(NamedTuple):
  """One combination of settings.

  Attributes:
    settings: text of the value of each key that is swept.
    config: the whole configuration.
  """

  settings: dict[str, str]
  config: ConfigDict

  @property
  def name(self) -> str:
    """Name of the folder: 'KEY=VALUE,KEY2=VALUE'."""
    name = ",".join(f"{key}={value}" for key, value in self.settings.items())
    return name.replace("%", "%25").replace("/", "%2F")


def make_grid(
  config: ConfigDict, sweeps: Sequence[tuple[str, str]], fixed: Collection[str] = ()
) -> list[Cell]:
  """Returns all combinations of the values of some keys; the last key changes fastest.

  Args:
    config: the common configuration, which is not changed.
    sweeps: pairs of a key and its values, separated by commas.
    fixed: keys that are set to one value already.

  Raises:
    UserError: for a key that is unknown, given twice or fixed, and for values that are missing,
      equal or of another type.
  """
  if not sweeps:
    raise UserError("--mode=sweep needs --sweep.KEY=VALUE,VALUE,… to name the settings that vary")
  keys = [key for key, _ in sweeps]
  for number, key in enumerate(keys):
    if key in fixed:
      raise UserError(f"--sweep.{key} and --config.{key} are both given: leave one out")
    if key in keys[:number]:
      raise UserError(f"--sweep.{key} is given twice: put all its values into one")
  lists = [_values(config, key, text) for key, text in sweeps]
  cells = []
  for values in itertools.product(*lists):
    settings = dict(zip(keys, values, strict=True))
    cells.append(Cell(settings, _changed(config, settings)))
    if len(cells[-1].name.encode()) > _LONGEST_NAME:
      raise UserError(f"the folder name '{cells[-1].name}' is too long: sweep over fewer keys")
  return cells


def split_values(text: str) -> list[str]:
  """Splits '1,(a,b),2' into ['1', '(a,b)', '2']: commas inside brackets do not split."""
  values, depth = [""], 0
  for character in text:
    depth += (character in "([{") - (character in ")]}")
    if character == "," and depth == 0:
      values.append("")
    else:
      values[-1] += character
  return [value.strip(" \t\r\n") for value in values]


def _values(config: ConfigDict, key: str, text: str) -> list[str]:
  values = split_values(text)
  seen = []
  for value in values:
    if not value:
      raise UserError(f"--sweep.{key}={text}: a value is missing; write --sweep.{key}=V1,V2,…")
    parsed = _changed(config, {key: value})
    if parsed in seen:
      raise UserError(f"--sweep.{key}={text}: {value} is given twice")
    seen.append(parsed)
  return values


def _changed(config: ConfigDict, settings: dict[str, str]) -> ConfigDict:
  config = copy.deepcopy(config)
  for key, value in settings.items():
    override(config, key, value, "--sweep")
  return config

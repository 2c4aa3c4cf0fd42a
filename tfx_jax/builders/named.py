"""Keys of a section as arguments of what it builds."""

import inspect
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from tfx_jax.common.json_object import JsonObject


def arguments_of(function: Callable, section: ConfigDict) -> JsonObject:
  """Returns the keys of a section that are parameters of a function; all, if it has `**kwargs`."""
  parameters = inspect.signature(function).parameters
  takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
  return {key: value for key, value in section.items() if key in parameters or takes_any}


def value_of(config: ConfigDict, key: str) -> Any:
  """Returns the value of a key `section.name`."""
  section, name = key.split(".")
  return config[section][name]

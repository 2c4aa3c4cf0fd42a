"""What a name or a section of the configuration stands for."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from tfx_jax.errors import UserError, nearest


def named(key: str, name: str, known: Mapping[str, Any]) -> Callable:
  """What a name of `known`, or 'package.module:Name', means.

  Raises:
    UserError: naming `key`, if it means nothing.
  """
  if name in known:
    return known[name]
  module, _, attribute = name.partition(":")
  if not attribute:
    raise UserError(f"{key}='{name}'{nearest(name, known)}; or package.module:Name")
  try:
    return getattr(importlib.import_module(module), attribute)
  except (ImportError, AttributeError, ValueError) as error:
    raise UserError(f"{key}='{name}': {error}") from error


def arguments_of(function: Callable, section: ConfigDict) -> dict[str, Any]:
  """The keys of a section that are arguments of a function; all, if it takes any."""
  parameters = inspect.signature(function).parameters
  takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
  return {key: value for key, value in section.items() if key in parameters or takes_any}

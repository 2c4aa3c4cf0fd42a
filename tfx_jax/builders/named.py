"""The keys of a section of the configuration that a function takes."""

import inspect
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict


def arguments_of(function: Callable, section: ConfigDict) -> dict[str, Any]:
  """The keys of a section that are arguments of a function; all, if it takes any."""
  parameters = inspect.signature(function).parameters
  takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
  return {key: value for key, value in section.items() if key in parameters or takes_any}

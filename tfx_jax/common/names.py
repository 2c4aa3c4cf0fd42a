"""Names `package.module:Name` of a user's own code: from where they are accepted, and their checks.

Importing such a name runs code. An experiment file and the command line are the user's, but a
folder may have been made by someone else: a configuration that is read from a folder may name code
only if the user trusts the folder.
"""

import contextlib
import contextvars
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfx_jax.errors import UserError, nearest

# Keys that take names of code. `imported` refuses any other, so that this list is complete.
KEYS = ("task.name", "task.metrics", "data.format")

_trusting = contextvars.ContextVar("trusting", default=False)


@contextlib.contextmanager
def trusting(trust: bool) -> Iterator[None]:
  """Within the context, trusts every folder that a configuration is read from, if `trust`."""
  token = _trusting.set(trust or _trusting.get())
  try:
    yield
  finally:
    _trusting.reset(token)


def check_trust(path: str, config: Mapping[str, Any], given: Sequence[str] = ()) -> None:
  """Checks that a configuration read from a folder names no code, unless folders are trusted.

  Args:
    path: the file, for the error.
    config: the sections of the configuration.
    given: keys that the user sets on the command line, in place of the values in the file.

  Raises:
    UserError: naming the key and the code.
  """
  if _trusting.get():
    return
  for key in KEYS:
    section, name = key.split(".")
    value = config[section][name]
    for text in value if isinstance(value, tuple) else [value]:
      if ":" in str(text) and key not in given:
        raise UserError(
          f"{path} names code to run, {key}='{text}': give the run's --config=FILE.py, or, if you "
          "trust whoever made the folder, --trust (in Python: load(..., trust=True))"
        )


def imported(key: str, name: str, known: Iterable[str]) -> Callable[..., Any]:
  """Imports 'package.module:Name' and returns the class or function.

  Args:
    key: key of the configuration, one of KEYS.
    name: value of the key.
    known: names that need no import, for the error.

  Raises:
    UserError: naming the key, if there is no such class or function.
  """
  if key not in KEYS:
    raise LookupError(f"{key} is not one of the keys that take names of code")
  module_name, _, attribute = name.partition(":")
  if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
    hint = nearest(name, known)
    raise UserError(f"{key}='{name}' is unknown{hint} (your own: package.module:Name)")
  try:
    module = importlib.import_module(module_name)
  except ImportError as error:
    raise UserError(f"{key}='{name}': cannot import '{module_name}': {error}") from error
  found = getattr(module, attribute, None)
  if not callable(found):
    callables = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
    raise UserError(
      f"{key}='{name}': {module_name} has no class or function '{attribute}'"
      f"{nearest(attribute, callables)}"
    )
  return found


def check_parameters(
  key: str, name: str, function: Callable[..., object], parameters: Sequence[str]
) -> None:
  """Checks that a class or function can be called with these parameters as keywords.

  A function must declare them: `**kwargs` alone does not show that it is meant for this key.

  Raises:
    UserError: naming the key.
  """
  try:
    signature = inspect.signature(function)
    signature.bind(**dict.fromkeys(parameters))
    for parameter in parameters:
      if parameter not in signature.parameters and not isinstance(function, type):
        raise TypeError(f"it has no parameter '{parameter}'")
  except (TypeError, ValueError) as error:
    raise UserError(
      f"{key}='{name}' cannot be called with ({', '.join(parameters)}): {error}"
    ) from error


def check_members(key: str, name: str, found: object, kind: str, members: Iterable[str]) -> None:
  """Checks that a class or an object has these members, without evaluating its properties.

  Raises:
    UserError: naming the key and the first member that is missing.
  """
  for member in members:
    if inspect.getattr_static(found, member, None) is None and not hasattr(found, member):
      raise UserError(f"{key}='{name}' is no {kind}: it has no {member}")


def members(protocol: type) -> list[str]:
  """Returns the names of the attributes and methods that a protocol requires."""
  methods = (name for name in vars(protocol) if name == "__iter__" or name[0] != "_")
  return [*inspect.get_annotations(protocol), *methods]

"""Names `package.module:Name` of the user's own code: who may give them, and what they must mean.

To obey such a name runs code. An experiment file and the command line are the user's, but a folder
may be from someone else: a configuration that is read from one may name code only where the user
trusts the folder.
"""

import contextlib
import contextvars
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfx_jax.errors import UserError, nearest

# The keys that take names of code. `imported` obeys no other, so that none can be left out here.
KEYS = ("task.name", "task.metrics", "data.format")

_trusting = contextvars.ContextVar("trusting", default=False)


@contextlib.contextmanager
def trusting(trust: bool) -> Iterator[None]:
  """Trusts all folders that configurations are read from, if `trust`; else changes nothing."""
  token = _trusting.set(trust or _trusting.get())
  try:
    yield
  finally:
    _trusting.reset(token)


def check_trust(path: str, config: Mapping[str, Any], given: Sequence[str] = ()) -> None:
  """Checks that a configuration from a file of a folder names no code, unless folders are trusted.

  Args:
    path: of the file, for the error.
    config: its sections.
    given: keys whose values are going to be replaced by the user's own.

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
  """Returns the class or function that 'package.module:Name' means.

  Args:
    key: of the configuration, one of KEYS.
    name: its value.
    known: names that need no import, for the error.

  Raises:
    UserError: naming the key, if the name means nothing that can be called.
  """
  if key not in KEYS:
    raise LookupError(f"{key} is not among the keys that take names of code")
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
  key: str, name: str, function: Callable[..., Any], parameters: Sequence[str]
) -> None:
  """Checks that a class or function can be called with these parameters, by their names.

  A function must name them itself: one that takes anything may be anything.

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
  """Checks that a class or an object has these members; no property of it is computed.

  Raises:
    UserError: naming the key and the first member that is missing.
  """
  for member in members:
    if inspect.getattr_static(found, member, None) is None and not hasattr(found, member):
      raise UserError(f"{key}='{name}' is no {kind}: it has no {member}")


def members(protocol: type) -> list[str]:
  """Names of the attributes and methods that a protocol asks for."""
  methods = (name for name in vars(protocol) if name == "__iter__" or name[0] != "_")
  return [*inspect.get_annotations(protocol), *methods]

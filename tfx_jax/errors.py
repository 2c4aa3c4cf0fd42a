"""The exception for mistakes of a user, reported in one line."""

import difflib
import os
import reprlib
from collections.abc import Iterable


class UserError(ValueError):
  """A mistake of the user: one line that names the key, file or parameter and what would work.

  The command line prints it without a traceback. Every folder may raise it.
  """


class MissingFile(UserError):
  """A file of the user's data does not exist."""


def shown(value: object) -> str:
  """Returns a value as text for one line of an error, shortened if it is long."""
  return " ".join(reprlib.repr(value).split())


def as_path(name: str, value: object) -> str:
  """Returns a path given as `str` or `pathlib.Path`.

  Raises:
    UserError: naming the parameter, for anything else.
  """
  if not isinstance(value, str | os.PathLike):
    raise UserError(f"{name}={shown(value)} is {type(value).__name__}: use a path")
  return os.fspath(value)


def first_line(error: BaseException) -> str:
  """Returns the first line of an error's message, or its type if it has none."""
  return (str(error).strip() or type(error).__name__).splitlines()[0]


def nearest(name: str, choices: Iterable[str]) -> str:
  """Returns ', did you mean X?' with the choice most similar to `name`, else a list of all."""
  choices = [str(c) for c in choices]
  close = difflib.get_close_matches(name, choices, n=1)
  return f", did you mean '{close[0]}'?" if close else f"; known: {', '.join(choices)}"

"""The one exception for what a user can mend, told in one line."""

import difflib
import os
import reprlib
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
  """Bad input of the user's: one line that names the key, file or parameter and what would work.

  The command line prints it without a traceback. Every package may raise it.
  """


def shown(value: Any) -> str:
  """Returns a value as a part of an error's line, shortened if it is long."""
  return " ".join(reprlib.repr(value).split())


def as_path(name: str, value: Any) -> str:
  """Returns a path given as a text or a `pathlib.Path`.

  Raises:
    UserError: naming the parameter, for anything else.
  """
  if not isinstance(value, str | os.PathLike):
    raise UserError(f"{name}={shown(value)} is {type(value).__name__}: use a path")
  return os.fspath(value)


def first_line(error: BaseException) -> str:
  """Returns the first line of what an error says, or its type where it says nothing."""
  return (str(error).strip() or type(error).__name__).splitlines()[0]


class MissingFile(UserError):
  """A file of the user's data that is not there."""


def nearest(name: str, choices: Iterable[str]) -> str:
  """Returns ', did you mean X?' for the choice most like `name`, else the list of choices."""
  choices = [str(c) for c in choices]
  close = difflib.get_close_matches(name, choices, n=1)
  return f", did you mean '{close[0]}'?" if close else f"; known: {', '.join(choices)}"

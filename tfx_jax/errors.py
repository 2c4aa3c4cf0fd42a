"""The one exception for what a user can mend, told in one line."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
  """Bad input of the user's: one line that names the key, file or parameter and what would work.

  The command line prints it without a traceback. Every package may raise it.
  """


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

"""Values of keys that the command line gives as texts."""

import ast
import re

from ml_collections import ConfigDict

from tfx_jax.config.defaults import STRUCTURED
from tfx_jax.errors import UserError, nearest

# A tuple without quotes: a,b or (a,b) or [a,b]. Everything else is a Python literal.
_PLAIN_TUPLE = re.compile(r"[ \t\r\n]*(?:\(([^'\"]*)\)|\[([^'\"]*)\]|([^(\[{].*)?)[ \t\r\n]*")
# Stripped from the parts of a tuple; other white space may be a stop string.
_BLANK = " \t\r\n"


def override(config: ConfigDict, key: str, text: str, option: str = "--config") -> None:
  """Sets a key to the value that a text means for the type of the key.

  Args:
    config: changed in place.
    key: 'section.name'.
    text: the value. The parts of a tuple of strings are separated by commas, with or without
      brackets; a structured value is a Python literal.
    option: name of the command line's option, for errors.

  Raises:
    UserError: for an unknown key, or a text that is no value of its type.
  """
  *sections, name = key.split(".")
  place, path = config, "config"
  for section in [*sections, name]:
    if not isinstance(place, ConfigDict) or section not in place:
      choices = list(place) if isinstance(place, ConfigDict) else []
      raise UserError(f"{option}.{key}: {path} has no key '{section}'{nearest(section, choices)}")
    parent, place, path = place, place[section], f"{path}.{section}"
  if isinstance(place, ConfigDict) and key not in STRUCTURED:
    raise UserError(f"{option}.{key} is a section; its keys are {', '.join(place)}")
  parse = _parse_structured if key in STRUCTURED else _parse
  parent[name] = parse(f"{option}.{key}", text, place)


def _parse(option: str, text: str, old: object) -> object:
  """Returns the value of a text, of the type of `old`."""
  if isinstance(old, str):
    return text
  if isinstance(old, tuple) and (parts := _plain_parts(text)) is not None:
    return tuple(parts)
  value = _literal({"true": "True", "false": "False"}.get(text.lower(), text))
  if isinstance(old, tuple) and isinstance(value, list | tuple):
    return tuple(value)
  if isinstance(old, float) and isinstance(value, int | float) and not isinstance(value, bool):
    return float(value)
  if isinstance(old, int) and isinstance(value, float) and value.is_integer():
    value = int(value)
  if type(value) is not type(old):
    raise UserError(f"{option}={text} is not of type {type(old).__name__}")
  return value


def _parse_structured(option: str, text: str, old: object) -> object:
  """Returns a tuple, or a dict where `old` is a section; names in a tuple need no quotes."""
  if isinstance(old, str):
    return text
  value = _literal(text)
  if isinstance(old, ConfigDict):
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
      raise UserError(f"{option}={text}: use a dict, as in {option}=\"{{'NAME': 0.5}}\"")
    return value
  if isinstance(value, str):
    parts = _plain_parts(text)
    if parts is None:
      raise UserError(f"{option}={text}: use a tuple, as in {option}=\"(1, 'a')\"")
    value = tuple(_literal(part) for part in parts)
  return as_tuples(value) if isinstance(value, list | tuple) else (value,)


def as_tuples(value: object) -> object:
  """Returns a value with tuples in place of its lists, at any depth."""
  if isinstance(value, list | tuple):
    return tuple(as_tuples(item) for item in value)
  return {k: as_tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def _literal(text: str) -> object:
  """Returns the value of a Python literal; any other text as it is."""
  try:
    return ast.literal_eval(text.strip(_BLANK))
  except (ValueError, SyntaxError, RecursionError, MemoryError):
    return text


def _plain_parts(text: str) -> list[str] | None:
  """Returns the parts of a tuple that is written without quotes; None for any other text."""
  plain = _PLAIN_TUPLE.fullmatch(text)
  if not plain:
    return None
  parts = (plain[1] or plain[2] or plain[3] or "").split(",")
  return [part.strip(_BLANK) for part in parts if part.strip(_BLANK)]

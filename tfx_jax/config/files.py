"""Configurations from experiment files, command-line overrides and workdirs."""

import ast
import contextlib
import importlib.machinery
import json
import os
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from tfx_jax.common.names import check_trust
from tfx_jax.common.whole_file import write_whole
from tfx_jax.config import base
from tfx_jax.errors import UserError, first_line, nearest

FORMAT_VERSION = 1
_FILE = "config.json"
# What defaults were before they changed.
_OLD_DEFAULTS = {("model", "norm_epsilon"): 1e-6}
# Names without quotes: a,b or (a,b) or [a,b]; everything else is a Python literal.
_PLAIN_TUPLE = re.compile(r"[ \t\r\n]*(?:\(([^'\"]*)\)|\[([^'\"]*)\]|([^(\[].*)?)[ \t\r\n]*")
# What is taken off a part of a tuple; a stop string may be of other white space.
_BLANK = " \t\r\n"


def read_experiment(name: str) -> ConfigDict:
  """The configuration of 'FILE.py' or 'FILE.py:ARGUMENT', from its `get_config`.

  Raises:
    UserError: if there is no such file, or it sets a key that does not exist.
  """
  path, _, argument = name.partition(":")
  if not os.path.isfile(path):
    raise UserError(f"--config={name}: there is no file {path}")
  if not path.endswith(".py"):
    raise UserError(f"--config={name}: {path} is not a Python file")
  loader = _Source("experiment", path)
  module = types.ModuleType(loader.name)
  module.__file__ = path
  loader.exec_module(module)
  if not hasattr(module, "get_config"):
    raise UserError(f"--config={name}: {path} has no function get_config")
  try:
    config = module.get_config(argument) if argument else module.get_config()
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    # A locked configuration explains itself in the first line.
    raise UserError(f"--config={name}: {first_line(error)}") from error
  if not isinstance(config, ConfigDict):
    kind = type(config).__name__
    raise UserError(f"--config={name}: get_config returns no configuration but {kind}")
  return config


class _Source(importlib.machinery.SourceFileLoader):
  """A file of which no bytecode is kept: on a full disk it would be cut off, and then read."""

  def get_code(self, fullname: str) -> types.CodeType:
    """What the source means."""
    return self.source_to_code(self.get_data(self.path), self.path)


def override(config: ConfigDict, key: str, text: str, option: str = "--config") -> None:
  """Sets 'section.name' to what `text` means for the type it has.

  Args:
    config: to change.
    key: 'section.name'.
    text: of the value; a tuple's parts have commas between, with or without brackets around.
    option: of the command line, to be named in errors.

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
  if isinstance(place, ConfigDict):
    raise UserError(f"{option}.{key}: that is a section; its keys are {', '.join(place)}")
  parent[name] = _parse(f"{option}.{key}", text, place)


def _parse(option: str, text: str, old: Any) -> Any:
  if isinstance(old, str):
    return text
  if isinstance(old, tuple) and (plain := _PLAIN_TUPLE.fullmatch(text)):
    parts = (plain[1] or plain[2] or plain[3] or "").split(",")
    return tuple(part.strip(_BLANK) for part in parts if part.strip(_BLANK))
  try:
    value = ast.literal_eval({"true": "True", "false": "False"}.get(text.lower(), text))
  except (ValueError, SyntaxError):
    value = text
  if isinstance(old, tuple) and isinstance(value, list | tuple):
    return tuple(value)
  if isinstance(old, float) and isinstance(value, int | float) and not isinstance(value, bool):
    return float(value)
  if isinstance(old, int) and isinstance(value, float) and value.is_integer():
    value = int(value)
  if type(value) is not type(old):
    raise UserError(f"{option}={text} is not of type {type(old).__name__}")
  return value


def write_config(
  workdir: str, config: ConfigDict, fingerprints: Mapping[str, str] | None = None
) -> None:
  """Writes WORKDIR/config.json, whole or not at all.

  Args:
    workdir: made if it is missing.
    config: to write.
    fingerprints: of the data, by split.

  Raises:
    UserError: if the workdir cannot be written.
  """
  path = os.path.join(workdir, _FILE)
  content = {
    "format_version": FORMAT_VERSION,
    # The number of threads shapes sums: bit-for-bit claims hold for the same number.
    "cpu_count": cpu_count(),
    "data_fingerprints": dict(fingerprints or {}),
    "config": config.to_dict(),
  }
  try:
    os.makedirs(workdir, exist_ok=True)
    write_whole(path, json.dumps(content, indent=1))
  except OSError as error:
    raise UserError(f"cannot write to workdir {workdir}: {error.strerror}") from error


def remove_config(workdir: str) -> None:
  """Removes WORKDIR/config.json, if it can."""
  with contextlib.suppress(OSError):
    os.remove(os.path.join(workdir, _FILE))


def read_config(workdir: str, given: Sequence[str] = ()) -> ConfigDict | None:
  """Returns the configuration that a workdir was made with, to build from; None if it has no run.

  Args:
    workdir: of the run.
    given: keys that the user is going to set.

  Raises:
    UserError: if it cannot be read, or names code of the user's own and is not trusted.
  """
  config = recorded_config(workdir)
  if config is not None:
    check_trust(os.path.join(workdir, _FILE), config, given)
  return config


def recorded_config(workdir: str) -> ConfigDict | None:
  """As `read_config`, to compare with alone: it may name code of whoever made the folder.

  Keys that have been added since have their defaults.

  Raises:
    UserError: if it cannot be read.
  """
  content = _content(workdir)
  if content is None:
    return None
  config = base()
  try:
    with config.unlocked():
      for section, values in content["config"].items():
        if isinstance(values, dict) and section in config:
          values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
          config[section].update(values)
        else:
          config[section] = values
  except TypeError as error:
    raise UserError(f"cannot read {os.path.join(workdir, _FILE)}: {error}") from error
  return config


def keep_old_defaults(config: ConfigDict, workdir: str) -> list[str]:
  """Gives a configuration the defaults that a workdir's run began with, where they have changed.

  So the command that began a run goes on with it.

  Returns:
    what was changed, a line for each key.
  """
  recorded, defaults, old = recorded_config(workdir), base(), config.to_dict()
  for (section, name), value in _OLD_DEFAULTS.items():
    if recorded is not None and recorded[section][name] == value:
      if config[section][name] == defaults[section][name]:
        config[section][name] = value
  return differences(old, config.to_dict())


def differences(old: Mapping, new: Mapping, prefix: str = "") -> list[str]:
  """Lines 'key: old -> new' of what differs between two configurations."""
  lines = []
  for key in sorted({*old, *new}):
    name, a, b = prefix + key, old.get(key), new.get(key)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
      lines += differences(a, b, name + ".")
    elif a != b:
      lines.append(f"{name}: {a!r} -> {b!r}")
  return lines


def recorded_cpu_count(workdir: str) -> int | None:
  """How many processors the run was begun with."""
  return (_content(workdir) or {}).get("cpu_count")


def recorded_fingerprints(workdir: str) -> dict[str, str]:
  """Returns the fingerprints of the data that the run has read, by split.

  There are none where the workdir holds no run, or one from before they were recorded.
  """
  return (_content(workdir) or {}).get("data_fingerprints", {})


def cpu_count() -> int:
  """Processors that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _content(workdir: str) -> dict | None:
  path = os.path.join(workdir, _FILE)
  if not os.path.exists(path):
    return None
  try:
    with open(path, encoding="utf-8-sig") as file:  # an editor may have put a byte order mark
      content = json.load(file)
    if "model_type" in content:
      return None  # a model of another library
    version = int(content["format_version"])
    content["config"].items()
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise UserError(f"cannot read {path}: {error}; is {workdir} the workdir of a run?") from error
  if version > FORMAT_VERSION:
    raise UserError(f"{path} has format {version}; this version reads up to {FORMAT_VERSION}")
  return content

"""Configurations from experiment files."""

import importlib.machinery
import os
import types

from ml_collections import ConfigDict

from tfx_jax.errors import UserError, first_line


def read_experiment(name: str) -> ConfigDict:
  """Returns the configuration of 'FILE.py' or 'FILE.py:ARGUMENT', from its `get_config`.

  Raises:
    UserError: if there is no such file, or it sets a key that does not exist.
  """
  path, _, argument = name.partition(":")
  if not os.path.isfile(path):
    raise UserError(f"--config={name}: there is no file {path}")
  if not path.endswith(".py"):
    raise UserError(f"--config={name}: {path} is not a Python file")
  loader = _WithoutBytecode("experiment", path)
  module = types.ModuleType(loader.name)
  module.__file__ = path
  loader.exec_module(module)
  if not hasattr(module, "get_config"):
    raise UserError(f"--config={name}: {path} has no function get_config")
  try:
    config = module.get_config(argument) if argument else module.get_config()
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    # A locked ConfigDict names the nearest key in its first line.
    raise UserError(f"--config={name}: {first_line(error)}") from error
  if not isinstance(config, ConfigDict):
    kind = type(config).__name__
    raise UserError(f"--config={name}: get_config returns {kind}; use a ConfigDict, from base()")
  return config


class _WithoutBytecode(importlib.machinery.SourceFileLoader):
  """Loads a source file without its bytecode, which a full disk may have truncated."""

  def get_code(self, fullname: str) -> types.CodeType:
    """Returns the compiled source."""
    return self.source_to_code(self.get_data(self.path), self.path)

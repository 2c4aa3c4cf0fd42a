"""Configurations from experiment files: the user's own, and those that come with the package."""

import ast
import importlib.machinery
import os
import pathlib
import types

from ml_collections import ConfigDict

from tfx_jax.errors import UserError, first_line, nearest


def experiments() -> dict[str, pathlib.Path]:
  """Returns the files of the experiments that come with the package, by name.

  They are in the folder `experiments/` of the repository, which a wheel has within the package.
  """
  package = pathlib.Path(__file__).parent.parent
  folders = [package / "experiments", package.parent / "experiments"]
  folder = next((folder for folder in folders if folder.is_dir()), folders[0])
  return {path.stem: path for path in sorted(folder.glob("[!_]*.py"))}


def summary(path: pathlib.Path) -> str:
  """Returns the first line of an experiment's docstring; its code is not run."""
  lines = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
  return lines[0] if lines else ""


def read_experiment(name: str) -> ConfigDict:
  """Returns the configuration of an experiment, from its `get_config`.

  Args:
    name: 'FILE.py', or the name of one of `experiments`; 'FILE.py:ARGUMENT' gives an argument.

  Raises:
    UserError: if there is no such experiment, or it sets a key that does not exist.
  """
  given, _, argument = name.partition(":")
  path = _find(name, given)
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


def _find(name: str, given: str) -> str:
  """Returns the path of an experiment's file, given a path or a name."""
  if os.path.isfile(given):
    return given
  known = experiments()
  if given in known:
    return str(known[given])
  stem, ending = os.path.splitext(os.path.basename(given))
  if ending:
    hint = f"; --config={name.replace(given, stem)} comes with tfx_jax" if stem in known else ""
    raise UserError(f"--config={name}: there is no file {given}{hint}")
  raise UserError(f"--config={name}: there is no experiment '{given}'{nearest(given, known)}")


class _WithoutBytecode(importlib.machinery.SourceFileLoader):
  """Loads a source file without its bytecode, which a full disk may have truncated."""

  def get_code(self, fullname: str) -> types.CodeType:
    """Returns the compiled source."""
    return self.source_to_code(self.get_data(self.path), self.path)

"""Starts the program; imports little, since the process is restarted first."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from tfx_jax.runtime.allocator import restart_with_kept_buffers


def start() -> NoReturn:
  """Runs the program on the arguments of the process, which ends with its exit code."""
  restart_with_kept_buffers()
  if not sys.flags.safe_path:
    sys.path.insert(0, "")  # a script has its own folder there, `python -m` the current one
  sys.exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command and returns its exit code, see `cli/program.py`.

  Args:
    arguments: arguments of the command line; by default those of the process.
  """
  from tfx_jax.cli import program

  return program.main(arguments)

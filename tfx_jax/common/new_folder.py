"""Folders that a command writes as a whole, so that nothing that is there is overwritten."""

import os

from tfx_jax.errors import UserError


def check_new(folder: str) -> None:
  """Checks that a folder does not exist or is empty.

  Raises:
    UserError: if it holds something, or is a file.
  """
  if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
    raise UserError(f"{folder} is not empty: choose a folder that does not exist or is empty")

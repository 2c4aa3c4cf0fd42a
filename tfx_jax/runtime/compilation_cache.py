"""Compiled programs on disk, for later runs."""

import contextlib
import glob
import os
import re
import warnings
from typing import Any

import jax

_UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")


def use(folder: str) -> None:
  """Makes JAX cache programs that take long to compile in a folder.

  An entry that was truncated by a full disk or a kill is removed, with all other entries of the
  same program name. JAX itself would never write it again and would warn of it in each run.
  """
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
  show = warnings.showwarning

  def show_or_repair(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    match = _UNREADABLE.match(str(message))
    if not match:
      return show(message, *args, **kwargs)
    for path in glob.glob(os.path.join(glob.escape(folder), f"{glob.escape(match[1])}-*")):
      with contextlib.suppress(OSError):
        os.remove(path)

  warnings.showwarning = show_or_repair

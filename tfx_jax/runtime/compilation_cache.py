"""Compiled programs, kept on disk for the runs to come."""

import contextlib
import glob
import os
import re
import warnings
from typing import Any

import jax

_UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")


def use(folder: str) -> None:
  """Has JAX keep in a folder what takes long to compile.

  JAX never writes an entry again that a full disk or a kill has cut off, and warns of it in each
  run: here it is removed instead, and with it what else is kept of a program of that name.
  """
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
  show = warnings.showwarning

  def show_or_mend(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    found = _UNREADABLE.match(str(message))
    if not found:
      return show(message, *args, **kwargs)
    for path in glob.glob(os.path.join(glob.escape(folder), f"{glob.escape(found[1])}-*")):
      with contextlib.suppress(OSError):
        os.remove(path)

  warnings.showwarning = show_or_mend

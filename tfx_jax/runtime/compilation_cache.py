"""Compiled programs on disk, for later processes."""

import contextlib
import glob
import os
import re
import warnings
from typing import Any

import jax

_UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")


def use(folder: str) -> None:
  """Makes JAX cache all programs in FOLDER/xla, unless it has a folder of its own.

  It has one if JAX_COMPILATION_CACHE_DIR, or `jax_compilation_cache_dir` of its configuration, is
  set. Small programs are cached, too: there are many of them, each is faster to read than to
  compile, and they take little space.

  An entry that was truncated by a full disk or a kill is removed, with all other entries of the
  same program name. JAX itself would never write it again and would warn of it in each run.

  Args:
    folder: the folder of all files that can be made again.
  """
  if jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
    return
  folder = os.path.join(folder, "xla")
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  show = warnings.showwarning

  def show_or_repair(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    match = _UNREADABLE.match(str(message))
    if not match:
      return show(message, *args, **kwargs)
    for path in glob.glob(os.path.join(glob.escape(folder), f"{glob.escape(match[1])}-*")):
      with contextlib.suppress(OSError):
        os.remove(path)

  warnings.showwarning = show_or_repair

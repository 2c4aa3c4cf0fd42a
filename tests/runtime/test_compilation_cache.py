"""Compiled programs on disk: used again, and mended where they were cut off."""

import os
import subprocess
import sys

PROGRAM = """
import sys
import jax
from tfx_jax.runtime import compilation_cache

compilation_cache.use(sys.argv[1])
hits = []
jax.monitoring.register_event_listener(
  lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None
)
print(float(jax.jit(lambda x: x + 1)(1.0)), len(hits))
"""


def run(folder, **environment):
  """Runs the program; returns its output, the number of its hits with it, and its messages."""
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM, str(folder)],
    capture_output=True,
    text=True,
    check=True,
    env=os.environ | environment,
  )
  return done.stdout.split(), done.stderr


def test_an_entry_that_was_cut_off_is_written_again(tmp_path):
  def entries():
    return {path.name: path.stat().st_size for path in (tmp_path / "xla").glob("*-cache")}

  assert run(tmp_path) == (["2.0", "0"], "")
  whole = entries()
  assert run(tmp_path) == (["2.0", str(len(whole))], "")
  for name in whole:
    (tmp_path / "xla" / name).write_bytes((tmp_path / "xla" / name).read_bytes()[:1])
  assert run(tmp_path) == (["2.0", "0"], "")
  assert entries().keys() == whole.keys() and min(entries().values()) > 1
  assert run(tmp_path) == (["2.0", str(len(whole))], "")


def test_a_folder_that_the_user_has_chosen_is_used_instead(tmp_path):
  own = tmp_path / "own"
  run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(own), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
  assert [*tmp_path.iterdir()] == [own] and [*own.iterdir()]

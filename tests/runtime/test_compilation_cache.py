"""Compiled programs on disk: used again, and mended where they were cut off."""

import subprocess
import sys

PROGRAM = """
import sys
import jax
from tfx_jax.runtime import compilation_cache

compilation_cache.use(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(
  lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None
)
print(float(jax.jit(lambda x: x + 1)(1.0)), len(hits))
"""


def test_an_entry_that_was_cut_off_is_written_again(tmp_path):
  def run():
    done = subprocess.run(
      [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True
    )
    return done.stdout.split(), done.stderr

  def entries():
    return {path.name: path.stat().st_size for path in tmp_path.glob("*-cache")}

  assert run() == (["2.0", "0"], "")
  whole = entries()
  assert run() == (["2.0", str(len(whole))], "")
  for name in whole:
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1])
  assert run() == (["2.0", "0"], "")
  assert entries().keys() == whole.keys() and min(entries().values()) > 1
  assert run() == (["2.0", str(len(whole))], "")

"""Large buffers are given out again without page faults, unless the environment says otherwise."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from tfx_jax.allocator import keep_large_buffers

def faults():
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

done = keep_large_buffers()
np.ones(1 << 20).sum()
before = faults()
for _ in range(16):
  np.ones(1 << 20).sum()  # 8 MB, 2,048 pages
print(done, faults() - before)
"""


def run(**environment):
  known = {name: x for name, x in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    env=known | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  kept, faults = done.stdout.split()
  return kept == "True", int(faults)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")
def test_large_buffers_are_mapped_once():
  # Counted where pages are of 4 kB; huge pages need fewer.
  kept, faults = run()
  assert kept and faults < 100
  kept, faults = run(MALLOC_MMAP_MAX_="65536")
  assert not kept and faults >= 16 * 4

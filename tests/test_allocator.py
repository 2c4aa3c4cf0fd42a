"""Large buffers are given out again without page faults, unless the environment says otherwise."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import concurrent.futures, resource, sys
import numpy as np
from tfx_jax.allocator import keep_large_buffers

megabytes, one_heap, in_thread = map(int, sys.argv[1:])

def faults():
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use():
  np.ones(megabytes << 17).sum()

done = keep_large_buffers(bool(one_heap))
with concurrent.futures.ThreadPoolExecutor(1) as pool:
  def again():
    pool.submit(use).result() if in_thread else use()
  again()
  before = faults()
  for _ in range(64):
    again()
  print(done, faults() - before)
"""


def run(megabytes, one_heap=False, in_thread=False, **environment):
  """Whether large buffers are kept, and the faults of asking for such a one 64 times more."""
  known = {name: x for name, x in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM, *(str(int(x)) for x in (megabytes, one_heap, in_thread))],
    env=known | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  kept, faults = done.stdout.split()
  return kept == "True", int(faults)


# Counted where pages are of 4 kB; huge pages, of 2 MB, need fewer.
@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")
def test_large_buffers_are_mapped_once():
  kept, faults = run(8)
  assert kept and faults < 100
  kept, faults = run(8, MALLOC_MMAP_MAX_="65536")
  assert not kept and faults >= 64 * 4


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")
def test_with_one_heap_threads_keep_even_what_their_own_could_not_hold():
  kept, faults = run(80, one_heap=True, in_thread=True)
  assert kept and faults < 64 * 10
  kept, faults = run(80, one_heap=False, in_thread=True)
  assert kept and faults >= 64 * 30

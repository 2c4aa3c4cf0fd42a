"""Large buffers are kept and in huge pages, unless the environment says otherwise."""

import os
import subprocess
import sys

import pytest

from tfx_jax.runtime.allocator import KEPT_BUFFERS

PROGRAM = """
import os, resource, sys
from tfx_jax.runtime.allocator import restart_with_kept_buffers

if len(sys.argv) == 2:
  print(os.getpid())
  sys.stdout.flush()
  sys.orig_argv.append("again")
  restart_with_kept_buffers()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
b"x" * (64 << 20)
first = faults() - before
b"x" * (64 << 20)
print(os.getpid(), sys.argv[1], first, faults() - before - first)
"""
SETTING = "/sys/kernel/mm/transparent_hugepage/enabled"


def setting():
  if not os.path.exists(SETTING):
    return ""
  with open(SETTING) as file:
    return file.read()


def run(**environment):
  """Whether it began again, in the same process and with its arguments; faults of 64 MiB, twice."""
  known = {name: x for name, x in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM, "word"],
    env=known | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  first, process, word, *faults = done.stdout.split()
  assert process == first and word == "word"
  return [int(count) for count in faults]


@pytest.mark.skipif("[madvise]" not in setting(), reason="needs huge pages for who asks for them")
def test_large_buffers_are_in_huge_pages_and_kept():
  first, second = run()
  assert first < 1000 and second < 10
  for other in ({"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.check=0"}):
    assert min(run(**other)) >= 64 << 8


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")
def test_free_memory_goes_back_to_the_system():
  program = """
from tfx_jax.runtime.allocator import give_back_free_memory
def held():
  with open("/proc/self/statm") as file:
    return int(file.read().split()[1]) * 4096 >> 20
large, small = b"x" * (64 << 20), b"y" * 5000
del large
before = held()
give_back_free_memory()
print(before - held(), len(small))
"""
  done = subprocess.run(
    [sys.executable, "-c", program], env=os.environ | KEPT_BUFFERS, stdout=subprocess.PIPE
  )
  given_back, kept = map(int, done.stdout.split())
  assert given_back >= 60 and kept == 5000


@pytest.mark.parametrize("kept", [True, False])
def test_asynchronous_dispatch_is_off_if_buffers_are_kept(kept):
  program = (
    "from tfx_jax.runtime.allocator import compute_where_buffers_are_kept as choose; choose()\n"
    "import jax; print(jax.config.read('jax_cpu_enable_async_dispatch'))"
  )
  known = {name: x for name, x in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
  environment = known | (KEPT_BUFFERS if kept else {})
  done = subprocess.run([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
  assert done.stdout.decode().split() == [str(not kept)]

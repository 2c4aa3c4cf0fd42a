"""Large buffers are in huge pages, unless the environment says otherwise."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, resource, sys
from tfx_jax.allocator import restart_with_huge_pages

if len(sys.argv) == 2:
  print(os.getpid())
  sys.stdout.flush()
  sys.orig_argv.append("again")
  restart_with_huge_pages()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b"x" * (64 << 20)
print(os.getpid(), sys.argv[1], resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SETTING = "/sys/kernel/mm/transparent_hugepage/enabled"


def setting():
  if not os.path.exists(SETTING):
    return ""
  with open(SETTING) as file:
    return file.read()


def run(**environment):
  """Whether it began again, in the same process and with its arguments; the faults of 64 MiB."""
  known = {name: x for name, x in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM, "word"],
    env=known | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  first, process, word, faults = done.stdout.split()
  assert process == first and word == "word"
  return int(faults)


@pytest.mark.skipif("[madvise]" not in setting(), reason="needs huge pages for who asks for them")
def test_large_buffers_are_in_huge_pages():
  assert run() < 1000
  assert run(MALLOC_ARENA_MAX="2") >= 64 << 8
  assert run(GLIBC_TUNABLES="glibc.malloc.check=0") >= 64 << 8

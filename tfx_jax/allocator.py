"""How the C library gives out large buffers."""

import os
import sys

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def restart_with_huge_pages() -> None:
  """Begins this program again, in its process, with large buffers in huge pages.

  By default glibc maps each afresh from the system, and every 4 KiB of it cost a fault: on a CPU a
  training step asks for hundreds of megabytes. With the tunable it asks for pages of 2 MiB (glibc
  2.35 and later; older ones do not know it), but it is read when a program begins, and at no other
  time. What the environment says of the C library's memory (`MALLOC_ARENA_MAX`, `GLIBC_TUNABLES` …)
  stands, and then nothing is done; nor is it with another C library.
  """
  names = getattr(os, "confstr_names", {})
  told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
  if told or not sys.executable or "CS_GNU_LIBC_VERSION" not in names:
    return
  os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | HUGE_PAGES)

"""How the C library gives out large buffers."""

import ctypes
import os
import sys

KEPT_BUFFERS = {
  "GLIBC_TUNABLES": (
    f"glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={2**40}"
  )
}


def restart_with_kept_buffers() -> None:
  """Begins this program again, in its process, with large buffers kept and in huge pages.

  By default glibc maps each afresh from the system, and every 4 KiB of it cost a fault: on a CPU a
  training step asks for hundreds of megabytes. Tunables are read when a program begins, and at no
  other time; an older glibc passes over those that it does not know.

  What the environment says of the C library's memory (`MALLOC_ARENA_MAX`, `GLIBC_TUNABLES` …)
  stands, and then nothing is done; nor is it with another C library.
  """
  names = getattr(os, "confstr_names", {})
  told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
  if told or not sys.executable or "CS_GNU_LIBC_VERSION" not in names:
    return
  os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | KEPT_BUFFERS)


def compute_where_buffers_are_kept() -> None:
  """Has JAX run programs on a CPU in the thread that asks for them, if this one keeps buffers.

  Of any thread but the first glibc keeps 64 MiB at most, whatever it is told. Call it before JAX
  looks for devices.
  """
  if KEPT_BUFFERS.items() <= os.environ.items():
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def give_back_free_memory() -> None:
  """Returns to the system what the C library keeps and nothing uses; with glibc, else nothing.

  A heap that is kept grows each time a large buffer finds its old place taken, and never shrinks:
  call this between works of different sizes, as a validation among training steps.
  """
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)

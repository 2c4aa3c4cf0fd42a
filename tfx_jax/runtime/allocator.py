"""Settings of the C library's allocator for large buffers."""

import ctypes
import os
import sys

KEPT_BUFFERS = {
  "GLIBC_TUNABLES": (
    f"glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={2**40}"
  )
}


def restart_with_kept_buffers() -> None:
  """Re-executes the process with glibc tunables that keep freed large buffers and use huge pages.

  By default glibc maps each large buffer anew, which costs a page fault for every 4 KiB; a training
  step on a CPU allocates hundreds of megabytes. Tunables are read only when a program starts, and
  an older glibc ignores those that it does not know.

  Does nothing if the environment already configures the allocator (`MALLOC_ARENA_MAX`,
  `GLIBC_TUNABLES` …), or with another C library.
  """
  names = getattr(os, "confstr_names", {})
  configured = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
  if configured or not sys.executable or "CS_GNU_LIBC_VERSION" not in names:
    return
  os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | KEPT_BUFFERS)


def compute_where_buffers_are_kept() -> None:
  """Turns off JAX's asynchronous CPU dispatch if buffers are kept.

  glibc keeps large buffers for the main thread only: at most 64 MiB for any other, whatever the
  tunables. Call this before JAX looks for devices.
  """
  if KEPT_BUFFERS.items() <= os.environ.items():
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def give_back_free_memory() -> None:
  """Returns unused memory that glibc keeps to the system; does nothing with another C library.

  A heap that is kept grows whenever a large buffer finds its old place taken, and never shrinks.
  Call this between workloads of different sizes, such as training steps and a validation.
  """
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)

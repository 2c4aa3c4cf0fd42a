"""How the C library gives out large buffers."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep_large_buffers(one_heap: bool) -> bool:
  """Has glibc keep large buffers that are given back, for the next that asks for one.

  By default it maps each afresh from the system, and every page of it costs a fault: on a CPU a
  training step asks for hundreds of megabytes. What is held is then what was held at most at a
  time. What the environment says of this (`MALLOC_MMAP_MAX_`, `GLIBC_TUNABLES` …) stands.

  Args:
    one_heap: whether all threads share a heap. Those of their own hold 64 MiB, and what is larger
      is mapped afresh all the same: so for training, whose buffers XLA's threads ask for. Where
      buffers are small but many, as in decoding, threads would wait for each other.

  Returns:
    whether it was done; other C libraries are left alone.
  """
  if sys.platform != "linux" or any(
    name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
  ):
    return False
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is None:
    return False
  # Of what is free at the end of the heap nothing is given back: -1 is the largest size.
  settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1} | ({_M_ARENA_MAX: 1} if one_heap else {})
  return all(mallopt(parameter, value) for parameter, value in settings.items())

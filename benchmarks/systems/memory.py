"""The most memory that a program of JAX holds, without what compiling it took."""

import resource

from tfx_jax.runtime.allocator import give_back_free_memory


class Memory:
  """Of the device where it has its own; else of this process, on Linux from `begin` on."""

  def __init__(self):
    self._before = 0.0

  def begin(self) -> None:
    """Has freed memory given back to the system, and forgets what was held at most until now."""
    import jax

    give_back_free_memory()
    try:
      with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    except OSError:
      pass
    live = sum(x.nbytes for x in jax.live_arrays())
    self._before = _status("VmRSS") - live / 1e6

  def mb(self) -> float:
    """Megabytes: arrays, and whatever else was held at a time."""
    import jax

    figures = jax.local_devices()[0].memory_stats()
    if figures and "peak_bytes_in_use" in figures:
      return round(figures["peak_bytes_in_use"] / 1e6, 1)
    return round(_status("VmHWM") - self._before, 1)


def _status(name: str) -> float:
  """Megabytes that the system tells of this process."""
  try:
    with open("/proc/self/status") as file:
      (line,) = (line for line in file if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6
  except OSError:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6

"""Peak memory of a JAX program, without that of its compilation."""

import resource

from tfx_jax.runtime.allocator import give_back_free_memory


class Memory:
  """Peak memory of the device or, without device memory, of this process since `begin` (Linux)."""

  def __init__(self):
    self._before = 0.0

  def begin(self) -> None:
    """Returns freed memory to the system and resets the peak."""
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
    """Returns the peak in megabytes: arrays and everything else."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
      return round(stats["peak_bytes_in_use"] / 1e6, 1)
    return round(_status("VmHWM") - self._before, 1)


def _status(name: str) -> float:
  """Returns a value of /proc/self/status in megabytes, or the peak if there is no such file."""
  try:
    with open("/proc/self/status") as file:
      (line,) = (line for line in file if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6
  except OSError:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6

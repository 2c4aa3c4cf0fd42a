"""Processes of one run: joining them, and work that only the first one does."""

import contextlib
import os
from collections.abc import Iterator

import jax
import numpy as np

from tfx_jax.errors import UserError, first_line

# Variables that Slurm sets for each task of a step.
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


def join(coordinator: str = "", count: int | None = None, index: int | None = None) -> None:
  """Joins the other processes of the run; must be called before anything is computed.

  Args:
    coordinator: HOST:PORT of the first process. "auto" finds it, with count and index, from the
      cluster's environment (Slurm, TPU VMs, Kubernetes, Open MPI). If empty, the tasks of a Slurm
      step with several tasks are joined; otherwise the process runs alone.
    count: number of processes.
    index: number of this process, from 0.

  Raises:
    UserError: for options that contradict each other, or if "auto" finds no cluster.
  """
  if coordinator not in ("", "auto"):
    _join(coordinator, count, index)
    return
  if count is not None or index is not None:
    raise UserError("--processes and --process need --coordinator=HOST:PORT")
  in_slurm = all(name in os.environ for name in _SLURM) and int(os.environ["SLURM_NTASKS"]) > 1
  if not coordinator and not in_slurm:
    return
  try:
    jax.distributed.initialize()
  except (ValueError, RuntimeError) as error:
    reason = first_line(error)
    raise UserError(
      f"--coordinator=auto: {reason}; give --coordinator=HOST:PORT --processes=N --process=I"
    ) from error


def _join(coordinator: str, count: int | None, index: int | None) -> None:
  if not coordinator.rpartition(":")[2].isdigit() or ":" not in coordinator:
    raise UserError(f"--coordinator={coordinator} is not HOST:PORT")
  if count is None or index is None:
    raise UserError(f"--coordinator={coordinator} needs --processes=N and --process=I")
  if not 0 <= index < count:
    raise UserError(f"--process={index}: use 0 to {count - 1}, for --processes={count}")
  jax.distributed.initialize(coordinator, count, index)


def is_first() -> bool:
  """Returns true in the first process, the only one that writes the workdir."""
  return not jax.distributed.is_initialized() or jax.process_index() == 0


def several() -> bool:
  """Returns true if the run has other processes."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def check_joined() -> None:
  """Checks that all processes that the devices belong to have been joined.

  Raises:
    UserError: if they have not.
  """
  if jax.process_count() > 1 and not jax.distributed.is_initialized():
    raise UserError(
      f"the devices belong to {jax.process_count()} processes: give --coordinator=auto, "
      "or --coordinator=HOST:PORT --processes=N --process=I"
    )


@contextlib.contextmanager
def first_goes_ahead(name: str) -> Iterator[None]:
  """Runs a `with` block in the first process, then in the others, which find its results."""
  if not is_first():
    _wait(name)
  try:
    yield
  finally:
    if is_first():
      _wait(name)


def fail_together(error: UserError | None) -> None:
  """Raises the first process's error there, and a reference to it in the other processes.

  Args:
    error: the first process's error, or None. Other processes pass None.

  Raises:
    UserError: in all processes of the run, if the first one passes an error.
  """
  failed = error is not None
  if several():
    from jax.experimental import multihost_utils

    failed = bool(multihost_utils.broadcast_one_to_all(np.array(failed)))
  if failed:
    raise error or UserError("the first process of the run has failed: see its messages")


def _wait(name: str) -> None:
  if several():
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)

"""Checkpoints through Orbax: the state, and beside it what else a resumed run must know."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from tfx_jax.errors import UserError
from tfx_jax.training.state import TrainState

# What a checkpoint takes beside its arrays, at most.
SPARE_BYTES = 1_000_000


class _LatestAndBest(managers.PreservationPolicy):
  """Keeps the latest checkpoints and the best one."""

  def __init__(self, latest: int):
    self._latest = managers.LatestN(latest)
    self.best_step: int | None = None

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: managers.PreservationContext
  ) -> Sequence[bool]:
    latest = self._latest.should_preserve(checkpoints, context=context)
    return [
      keep or info.step == self.best_step for keep, info in zip(latest, checkpoints, strict=True)
    ]


class Checkpoints:
  """The folder `checkpoints` of a workdir, a subfolder per step.

  A checkpoint appears whole or not at all: it is written under another name and then renamed.

  Args:
    workdir: of the run.
    keep: latest checkpoints kept, beside the best one.

  Raises:
    UserError: if the folder cannot be written.
  """

  def __init__(self, workdir: str, keep: int = 1):
    self._folder = os.path.abspath(os.path.join(workdir, "checkpoints"))
    self._policy = _LatestAndBest(keep)
    options = ocp.CheckpointManagerOptions(
      preservation_policy=self._policy, cleanup_tmp_directories=True
    )
    try:
      self._manager = ocp.CheckpointManager(self._folder, options=options)
    except OSError as error:
      raise UserError(f"cannot write checkpoints to {self._folder}: {error.strerror}") from error

  def latest(self) -> int | None:
    """The newest step saved, or None."""
    return self._manager.latest_step()

  def check_room(self, state: TrainState) -> None:
    """Looks whether the disk has room for a checkpoint; a full one is no place to find out.

    Raises:
      UserError: if it has not.
    """
    needed = sum(x.nbytes for x in jax.tree.leaves(state)) + SPARE_BYTES
    free = shutil.disk_usage(self._folder).free
    if free < needed:
      raise UserError(
        f"cannot save to {self._folder}: a checkpoint needs {needed / 1e6:,.1f} MB, "
        f"the disk has {free / 1e6:,.1f} MB left"
      )

  def save(self, state: TrainState, progress: Mapping[str, Any]) -> None:
    """Saves in the background, after the save before; at most one copy is in flight.

    Args:
      state: arrays; they may be donated as soon as this returns.
      progress: what JSON can hold; its `best_step` is the checkpoint to keep beside the latest.

    Raises:
      UserError: if the disk has no room for it.
    """
    self.wait()
    self.check_room(state)
    self._policy.best_step = progress.get("best_step")
    arguments = ocp.args.Composite(
      state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(dict(progress))
    )
    try:
      self._manager.save(int(state.step), args=arguments, force=True)
    except OSError as error:
      raise UserError(f"cannot save to {self._folder}: {error.strerror}") from error

  def wait(self) -> None:
    """Returns when the save in flight is on disk.

    Raises:
      UserError: if it could not be written.
    """
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      raise UserError(f"cannot save to {self._folder}: {_reason(error)}") from error

  def restore(self, step: int, abstract: TrainState, shardings: Any) -> tuple[TrainState, dict]:
    """The state of `step`, sharded as asked, and its progress."""
    target = jax.tree.map(
      lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
      abstract,
      shardings,
    )
    arguments = ocp.args.Composite(
      state=ocp.args.StandardRestore(target), progress=ocp.args.JsonRestore()
    )
    restored = self._manager.restore(step, args=arguments)
    return restored["state"], restored["progress"]

  def close(self) -> None:
    """Waits for the save in flight and lets go of the folder."""
    self.wait()
    self._manager.close()


def _reason(error: BaseException) -> str:
  """What the operating system said, wherever in the chain of causes; else the first line."""
  cause: BaseException | None = error
  while cause is not None:
    if isinstance(cause, OSError) and cause.strerror:
      return cause.strerror
    if code := re.search(r"os_error_code='(\d+)'", str(cause)):  # TensorStore's way of telling
      return os.strerror(int(code[1]))
    cause = cause.__cause__ or cause.__context__
  return f"{type(error).__name__}: {error}".splitlines()[0]


def read_progress(workdir: str) -> tuple[int, dict] | None:
  """The step of the latest checkpoint of a run and its progress, or None if it has none."""
  folder = os.path.abspath(os.path.join(workdir, "checkpoints"))
  if not os.path.isdir(folder):
    return None
  with ocp.CheckpointManager(folder) as manager:
    step = manager.latest_step()
    return None if step is None else (step, _progress(manager, step))


def restore_params(
  workdir: str, which: str, abstract_params: Any, shardings: Any
) -> tuple[Any, int]:
  """The parameters of one checkpoint, and its step.

  Args:
    workdir: of the run.
    which: "latest", "best" or a step.
    abstract_params: shapes and dtypes.
    shardings: of each leaf.

  Raises:
    UserError: if there is no such checkpoint.
  """
  folder = os.path.abspath(os.path.join(workdir, "checkpoints"))
  if not os.path.isdir(folder):
    raise UserError(f"{workdir} holds no checkpoints: train it first")
  with ocp.CheckpointManager(folder) as manager:
    steps = manager.all_steps()
    step = _choose(manager, steps, which, workdir)
    target = {
      "params": jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        abstract_params,
        shardings,
      )
    }
    arguments = ocp.args.PyTreeRestore(
      target,
      restore_args=ocp.checkpoint_utils.construct_restore_args(target),
      partial_restore=True,
    )
    restored = manager.restore(step, args=ocp.args.Composite(state=arguments))
  return restored["state"]["params"], step


def _choose(manager: ocp.CheckpointManager, steps: Sequence[int], which: str, workdir: str) -> int:
  """The step that `which` means."""
  if not steps:
    raise UserError(f"{workdir} holds no checkpoints: train it first")
  known = {str(step): step for step in sorted(steps)}
  latest = max(steps)
  if which == "best":
    which = str(_progress(manager, latest).get("best_step") or "latest")
  if which == "latest":
    return latest
  if which not in known:
    raise UserError(
      f"{workdir} holds no checkpoint '{which}': set evaluate.checkpoint to best, latest or one "
      f"of the steps {', '.join(known)}"
    )
  return known[which]


def _progress(manager: ocp.CheckpointManager, step: int) -> dict:
  arguments = ocp.args.Composite(progress=ocp.args.JsonRestore())
  return manager.restore(step, args=arguments)["progress"]

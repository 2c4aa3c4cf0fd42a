"""Checkpoints through Orbax: the state, and beside it what else a resumed run must know."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers as managers

from tfx_jax.errors import UserError
from tfx_jax.training.state import TrainState

# What `evaluate.checkpoint` may be, beside a step.
SELECTIONS = ("best", "latest", "ema", "average")

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
  workdir: str,
  which: str,
  abstract_params: Any,
  shardings: Any,
  *,
  average_last: int = 1,
  ema: bool = False,
) -> tuple[Any, int]:
  """The parameters of one checkpoint, or the mean of several, and the step of the newest.

  Args:
    workdir: of the run.
    which: "latest", "best", "ema", "average" or a step.
    abstract_params: shapes and dtypes.
    shardings: of each leaf.
    average_last: how many of the latest checkpoints "average" is the mean of; with a warning it
      is of all where there are fewer.
    ema: whether the run keeps a moving average; it is what was validated, so "best" means that.

  Raises:
    UserError: if there is no such checkpoint.
  """
  folder = os.path.abspath(os.path.join(workdir, "checkpoints"))
  if not os.path.isdir(folder):
    raise UserError(f"{workdir} holds no checkpoints: train it first")
  target = jax.tree.map(
    lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    abstract_params,
    shardings,
  )
  with ocp.CheckpointManager(folder) as manager:
    steps = sorted(manager.all_steps())
    if not steps:
      raise UserError(f"{workdir} holds no checkpoints: train it first")
    if which == "ema" and not ema:
      raise UserError(f"{workdir} holds no moving average: it has train.ema_decay=0")
    if which == "average":
      chosen = steps[-average_last:]
      if len(chosen) < average_last:
        logging.warning("%s: %d checkpoints to average, not %d", workdir, len(chosen), average_last)
    else:
      chosen = [_choose(manager, steps, which, workdir)]
    field = "ema" if which == "ema" or (which == "best" and ema) else "params"
    total = None
    for step in chosen:
      params = _restore_field(manager, step, field, target)
      total = params if total is None else jax.tree.map(jnp.add, total, params)
  if len(chosen) > 1:
    total = jax.tree.map(lambda x: x / len(chosen), total)
  return total, chosen[-1]


def _restore_field(manager: ocp.CheckpointManager, step: int, field: str, target: Any) -> Any:
  """One field of the state that was saved at `step`."""
  target = {field: target}
  arguments = ocp.args.PyTreeRestore(
    target,
    restore_args=ocp.checkpoint_utils.construct_restore_args(target),
    partial_restore=True,
  )
  return manager.restore(step, args=ocp.args.Composite(state=arguments))["state"][field]


def _choose(manager: ocp.CheckpointManager, steps: Sequence[int], which: str, workdir: str) -> int:
  """The step that `which` means."""
  if which == "best":
    which = str(_progress(manager, steps[-1]).get("best_step") or "latest")
  if which in ("latest", "ema"):
    return steps[-1]
  known = {str(step): step for step in steps}
  if which not in known:
    raise UserError(
      f"{workdir} holds no checkpoint '{which}': set evaluate.checkpoint to "
      f"{', '.join(SELECTIONS)} or one of the steps {', '.join(known)}"
    )
  return known[which]


def _progress(manager: ocp.CheckpointManager, step: int) -> dict:
  arguments = ocp.args.Composite(progress=ocp.args.JsonRestore())
  return manager.restore(step, args=arguments)["progress"]

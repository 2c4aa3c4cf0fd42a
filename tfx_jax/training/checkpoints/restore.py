"""What is read of a run that has been trained: parameters, and how far it has come."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from tfx_jax.errors import UserError
from tfx_jax.training.checkpoints.verify import Damaged, read, read_progress_of

# What `evaluate.checkpoint` may be, beside a step.
SELECTIONS = ("best", "latest", "ema", "average")


def read_progress(workdir: str) -> tuple[int, dict] | None:
  """The step of the latest checkpoint of a run and its progress, or None if it has none.

  One whose progress cannot be read is passed over; the arrays are not looked at.
  """
  folder = os.path.abspath(os.path.join(workdir, "checkpoints"))
  if not os.path.isdir(folder):
    return None
  with ocp.CheckpointManager(folder) as manager:
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        return step, read_progress_of(manager, step)
      except Damaged:
        continue
  return None


def restore_params(
  workdir: str,
  which: str,
  abstract_params: Any,
  shardings: Any,
  *,
  average_last: int = 1,
  ema: bool = False,
  settings: Mapping[str, Any] | None = None,
) -> tuple[Any, int]:
  """The parameters of one checkpoint, or the mean of several, and the step of the newest.

  Args:
    workdir: of the run.
    which: "latest", "best", "ema", "average" or a step.
    abstract_params: shapes and dtypes.
    shardings: of each leaf.
    average_last: how many of the latest checkpoints "average" is the mean of; of all where there
      are fewer.
    ema: whether the run keeps a moving average; it is what was validated, so "best" means that.
    settings: by which the shapes were made, see `Checkpoints`.

  Raises:
    UserError: if there is no such checkpoint, or it is damaged.
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
    else:
      chosen = [_choose(manager, steps, which, workdir)]
    field = "ema" if which == "ema" or (which == "best" and ema) else "params"
    total = None
    for step in chosen:
      params = _restore_field(manager, step, field, target, workdir, settings)
      total = params if total is None else jax.tree.map(jnp.add, total, params)
  if len(chosen) > 1:
    total = jax.tree.map(lambda x: x / len(chosen), total)
  return total, chosen[-1]


def _restore_field(
  manager: ocp.CheckpointManager,
  step: int,
  field: str,
  target: Any,
  workdir: str,
  settings: Mapping[str, Any] | None,
) -> Any:
  """One field of the state that was saved at `step`."""
  target = {field: target}
  arguments = ocp.args.PyTreeRestore(
    target,
    restore_args=ocp.checkpoint_utils.construct_restore_args(target),
    partial_restore=True,
  )
  try:
    return read(manager, step, arguments, settings=settings)[0][field]
  except Damaged as error:
    raise _damaged(workdir, step, error) from error


def _choose(manager: ocp.CheckpointManager, steps: Sequence[int], which: str, workdir: str) -> int:
  """The step that `which` means."""
  if which == "best":
    try:
      which = str(read_progress_of(manager, steps[-1]).get("best_step") or "latest")
    except Damaged as error:
      raise _damaged(workdir, steps[-1], error) from error
  if which in ("latest", "ema"):
    return steps[-1]
  known = {str(step): step for step in steps}
  if which not in known:
    raise UserError(
      f"{workdir} holds no checkpoint '{which}': set evaluate.checkpoint to "
      f"{', '.join(SELECTIONS)} or one of the steps {', '.join(known)}"
    )
  return known[which]


def _damaged(workdir: str, step: int, error: Damaged) -> UserError:
  return UserError(
    f"checkpoint {step} of {workdir} is damaged ({error}): set evaluate.checkpoint to another "
    "step, or train, which goes on from the newest that is whole"
  )

"""Reads parameters and progress from the checkpoints of a trained run."""

import os
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError
from tfx_jax.models.model import Params
from tfx_jax.parallel import Shardings
from tfx_jax.training.checkpoints.verify import Damaged, read, read_progress_of

# Values of `evaluate.checkpoint`; it may also be a step.
SELECTIONS = ("best", "latest", "ema", "average")


def read_progress(workdir: str) -> tuple[int, JsonObject] | None:
  """Returns the step of a run's latest checkpoint and its progress, or None if there is none.

  Checkpoints whose progress cannot be read are skipped. The arrays are not read.
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
  abstract_params: Params,
  shardings: Shardings,
  *,
  average_last: int = 1,
  ema: bool = False,
  settings: Mapping[str, object] | None = None,
) -> tuple[Params, int]:
  """Returns the parameters of one checkpoint, or the mean of several, and the newest one's step.

  Args:
    workdir: working directory of the run.
    which: "latest", "best", "ema", "average" or a step.
    abstract_params: shapes and dtypes of the parameters.
    shardings: sharding of each of them.
    average_last: number of latest checkpoints that "average" is the mean of; all, if there are
      fewer.
    ema: whether the run keeps a moving average. If so it was validated, and "best" returns it.
    settings: settings that the shapes follow from, see `Checkpoints`.

  Raises:
    UserError: if there is no such checkpoint, it is damaged, or it was saved with other settings.
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
  target: Params,
  workdir: str,
  settings: Mapping[str, object] | None,
) -> Params:
  """Returns one field of the state that was saved at `step`."""
  item = {field: target}
  arguments = ocp.args.PyTreeRestore(
    item,
    restore_args=ocp.checkpoint_utils.construct_restore_args(item),
    partial_restore=True,
  )
  try:
    return read(manager, step, arguments, settings=settings)[0][field]
  except Damaged as error:
    raise _damaged(workdir, step, error) from error


def _choose(manager: ocp.CheckpointManager, steps: Sequence[int], which: str, workdir: str) -> int:
  """Returns the step that `which` names."""
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
    "step, or train: training resumes from the newest undamaged checkpoint"
  )

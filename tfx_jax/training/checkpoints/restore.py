"""Reads parameters and progress from the checkpoints of a trained run."""

import os
from collections.abc import Mapping, Sequence

import jax
import orbax.checkpoint as ocp

from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError
from tfx_jax.models.model import Params
from tfx_jax.training.checkpoints.verify import Damaged, read, read_progress_of


def read_progress(workdir: str) -> tuple[int, JsonObject] | None:
  """Returns the step of a run's latest checkpoint and its progress, or None if there is none.

  Checkpoints whose progress cannot be read are skipped. The arrays are not read.
  """
  if not os.path.isdir(_folder(workdir)):
    return None
  with ocp.CheckpointManager(_folder(workdir)) as manager:
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        return step, read_progress_of(manager, step)
      except Damaged:
        continue
  return None


def best_step(workdir: str, step: int) -> int | None:
  """Returns the step of the best validation that was known when `step` was saved, or None.

  Raises:
    UserError: if the checkpoint is damaged.
  """
  with ocp.CheckpointManager(_folder(workdir)) as manager:
    try:
      return read_progress_of(manager, step).get("best_step")
    except Damaged as error:
      raise _damaged(workdir, step, error) from error


def restore_mean(
  workdir: str,
  steps: Sequence[int],
  field: str,
  target: Params,
  settings: Mapping[str, object] | None = None,
) -> Params:
  """Returns the mean over checkpoints of one field of their states, such as "params".

  Args:
    workdir: working directory of the run.
    steps: steps of the checkpoints; one is returned as it is.
    field: name of the field.
    target: shapes, dtypes and shardings of the arrays.
    settings: settings that the shapes follow from, see `Checkpoints`.

  Raises:
    UserError: if a checkpoint is damaged, or was saved with other settings.
  """
  # All are of one run, so they have the shapes of the first.
  first, *others = steps
  with ocp.CheckpointManager(_folder(workdir)) as manager:
    total = _restore_field(manager, first, field, target, workdir, settings or {})
    if not others:
      return total
    add = jax.jit(
      lambda total, params, factor: jax.tree.map(lambda x, y: (x + y) * factor, total, params),
      out_shardings=jax.tree.map(lambda x: x.sharding, target),
      donate_argnums=0,
    )
    for step in others:
      params = _restore_field(manager, step, field, target, workdir, None)
      total = add(total, params, 1 / len(steps) if step == others[-1] else 1.0)
  return total


def _folder(workdir: str) -> str:
  return os.path.abspath(os.path.join(workdir, "checkpoints"))


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


def _damaged(workdir: str, step: int, error: Damaged) -> UserError:
  return UserError(
    f"checkpoint {step} of {workdir} is damaged ({error}): set evaluate.checkpoint to another "
    "step, or train: training resumes from the newest undamaged checkpoint"
  )

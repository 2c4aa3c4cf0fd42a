"""The parameters of a trained run that `evaluate.checkpoint` selects."""

import os
from collections.abc import Mapping, Sequence

import jax

from tfx_jax.errors import UserError
from tfx_jax.models.model import Params
from tfx_jax.parallel import Shardings
from tfx_jax.training.checkpoints.average import keep_average, origin_of, read_average

# Values of `evaluate.checkpoint`; it may also be a step.
SELECTIONS = ("best", "latest", "ema", "average")


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

  A mean is kept in the workdir, see `average.py`.

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
  steps = _saved_steps(workdir)
  if not steps:
    raise UserError(f"{workdir} holds no checkpoints: train it first")
  if which == "ema" and not ema:
    raise UserError(f"{workdir} holds no moving average: it has train.ema_decay=0")
  target = jax.tree.map(
    lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    abstract_params,
    shardings,
  )
  if which == "average" and len(steps[-average_last:]) > 1:
    return _mean(workdir, steps[-average_last:], target, settings), steps[-1]
  # Orbax takes longer to import than a kept mean to read.
  from tfx_jax.training.checkpoints import restore

  best = restore.best_step(workdir, steps[-1]) if which == "best" else None
  step = _choose(workdir, steps, which if best is None else str(best))
  field = "ema" if which == "ema" or (which == "best" and ema) else "params"
  return restore.restore_mean(workdir, [step], field, target, settings), step


def _mean(
  workdir: str, steps: Sequence[int], target: Params, settings: Mapping[str, object] | None
) -> Params:
  """Returns the mean of checkpoints, the kept one if there is one."""
  origin = origin_of(workdir, steps)
  kept = read_average(workdir, origin, target)
  if kept is not None:
    return kept
  from tfx_jax.training.checkpoints import restore

  params = restore.restore_mean(workdir, steps, "params", target, settings)
  keep_average(workdir, origin, params)
  return params


def _saved_steps(workdir: str) -> list[int]:
  """Returns the steps of a run's checkpoints in ascending order; empty if there is no folder."""
  folder = os.path.join(workdir, "checkpoints")
  names = os.listdir(folder) if os.path.isdir(folder) else []
  return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def _choose(workdir: str, steps: Sequence[int], which: str) -> int:
  """Returns the step that `which` names."""
  if which in SELECTIONS:
    return steps[-1]
  known = {str(step): step for step in steps}
  if which not in known:
    raise UserError(
      f"{workdir} holds no checkpoint '{which}': set evaluate.checkpoint to "
      f"{', '.join(SELECTIONS)} or one of the steps {', '.join(known)}"
    )
  return known[which]

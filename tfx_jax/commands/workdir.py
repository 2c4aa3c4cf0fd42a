"""What the commands know of a workdir: whose it is, and how far its run has come."""

import json
import os
from typing import Any

from ml_collections import ConfigDict

from tfx_jax import config_io
from tfx_jax.commands.console import say
from tfx_jax.errors import UserError
from tfx_jax.processes import is_first
from tfx_jax.report.metrics_log import MetricsLog, NoLog
from tfx_jax.training.recorder import Counters
from tfx_jax.training.restore import read_progress

# Beginnings of the keys that a run cannot change once it has begun, and those of them that it can.
FIXED = ("task.", "data.", "tokenizer.", "model.", "optimizer.", "lora.", "seed")
MOVABLE = ("data.cache_dir", "data.tfds_dir", "data.origin")


def check_workdir(config: ConfigDict, workdir: str) -> list[str] | None:
  """What of the configuration has changed since the workdir's run began; None if none has.

  Raises:
    UserError: if the workdir holds another run.
  """
  old = config_io.recorded_config(workdir)
  made = [name for name in ("checkpoints", "tokenizer") if os.path.isdir(f"{workdir}/{name}")]
  if not made:
    return None
  if old is None:
    raise UserError(f"{workdir} holds {made[0]} but no config.json: choose another --workdir")
  changes = config_io.differences(old.to_dict(), config.to_dict())
  fixed = [x for x in changes if x.startswith(FIXED) and not x.startswith(MOVABLE)]
  if fixed:
    raise UserError(
      f"{workdir} holds another run ({fixed[0]}): choose another --workdir, or the old setting"
    )
  return changes


def settle_config(config: ConfigDict, workdir: str) -> None:
  """Writes the configuration into the workdir, unless the workdir is another run's."""
  changes = check_workdir(config, workdir)
  if changes is not None:
    for line in changes:
      say(f"changed since this run began: {line}")
    cores = config_io.recorded_cpu_count(workdir)
    if cores != config_io.cpu_count():
      say(f"begun on {cores} processors, now {config_io.cpu_count()}: results differ by rounding")
  if changes != [] and is_first():
    config_io.write_config(workdir, config)


def open_log(workdir: str, resume_at: int | None = None) -> MetricsLog | NoLog:
  """The log of a run, see `MetricsLog`; one process writes it."""
  return MetricsLog(workdir, resume_at) if is_first() else NoLog()


def read_counters(workdir: str) -> tuple[int, Counters]:
  """The step of the latest checkpoint, and what was saved with it; step 0 without one."""
  saved = read_progress(workdir)
  return (saved[0], Counters(**saved[1])) if saved else (0, Counters())


def read_log(workdir: str) -> list[dict[str, Any]]:
  """The whole lines of metrics.jsonl."""
  path = os.path.join(workdir, "metrics.jsonl")
  if not os.path.exists(path):
    return []
  with open(path, encoding="utf-8") as file:
    return [json.loads(line) for line in file if line.endswith("\n")]


def final_figures(
  config: ConfigDict, workdir: str, step: int, counters: Counters
) -> dict[str, Any] | None:
  """The figures of the last evaluation, if training has ended at `step` and one followed.

  Going on with training cuts the log back, so that an evaluation found there is of the end.
  """
  ended = step >= config.train.num_steps or counters.stopped_early
  if not ended or counters.evaluated != step:
    return None
  split = config.evaluate.split
  found = [
    line for line in read_log(workdir) if "checkpoint_step" in line and line["split"] == split
  ]
  return found[-1] if found else None

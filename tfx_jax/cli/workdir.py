"""Workdirs as the commands see them: which run they hold, and its progress."""

import contextlib
import os
from collections.abc import Iterator, Mapping

from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.cli.console import say
from tfx_jax.common.json_object import JsonObject
from tfx_jax.config import files as config_files
from tfx_jax.errors import UserError
from tfx_jax.report.metrics_log import MetricsLog, NoLog
from tfx_jax.report.records import read_metrics
from tfx_jax.runtime.processes import fail_together, is_first
from tfx_jax.runtime.workdir_lock import locked
from tfx_jax.training.checkpoints.restore import read_progress
from tfx_jax.training.recorder import Counters

# Prefixes of the keys that cannot change after a run has started, and exceptions to them.
FIXED = ("task.", "data.", "tokenizer.", "image.", "model.", "optimizer.", "lora.", "seed")
MOVABLE = ("data.cache_dir", "data.tfds_dir", "data.origin")
# Paths of data may also change if fingerprints of the data are recorded.
PATHS = tuple(f"data.{split}:" for split in builders.SPLITS)


@contextlib.contextmanager
def held(workdir: str) -> Iterator[None]:
  """Holds the lock of a workdir, in the first process of the run; see `locked`.

  Raises:
    UserError: in all processes, if another run holds it.
  """
  with contextlib.ExitStack() as stack:
    error = None
    if is_first():
      try:
        stack.enter_context(locked(workdir))
      except UserError as failure:
        error = failure
    fail_together(error)
    yield


@contextlib.contextmanager
def opened(config: ConfigDict, workdir: str) -> Iterator[None]:
  """Locks a workdir and writes the configuration into it, unless it belongs to another run.

  A run that fails before it has written anything else leaves no configuration behind.
  """
  with held(workdir):
    settle_config(config, workdir)
    try:
      yield
    except UserError:
      if is_first() and not _made(workdir):
        config_files.remove_config(workdir)
      raise


def check_workdir(config: ConfigDict, workdir: str) -> list[str] | None:
  """Returns a line for each change since the workdir's run was started; None without a run.

  Raises:
    UserError: if the workdir holds another run, or the training data has changed.
  """
  old, made = config_files.recorded_config(workdir), _made(workdir)
  if old is None and os.path.exists(os.path.join(workdir, "config.json")):
    raise UserError(f"{workdir} holds a model of another library: choose another --workdir")
  if not made:
    return None
  if old is None:
    raise UserError(f"{workdir} holds {made[0]} but no config.json: choose another --workdir")
  changes = config_files.differences(old.to_dict(), config.to_dict())
  recorded = config_files.recorded_fingerprints(workdir)
  movable = MOVABLE + (PATHS if recorded else ())
  fixed_keys = FIXED
  if bool(old.train.ema_decay) != bool(config.train.ema_decay):
    fixed_keys += ("train.ema_decay",)  # a state has an average from step 0, or never
  fixed = [x for x in changes if x.startswith(fixed_keys) and not x.startswith(movable)]
  if fixed:
    raise UserError(
      f"{workdir} holds another run ({fixed[0]}): choose another --workdir, or the old setting"
    )
  return changes + _changed_data(config, recorded)


def _changed_data(config: ConfigDict, recorded: Mapping[str, str]) -> list[str]:
  """Returns a line for each split whose content has changed, which only the test set may."""
  lines = []
  for split, fingerprint in builders.data_fingerprints(config).items() if recorded else ():
    if fingerprint == recorded.get(split, fingerprint):
      continue
    path = f"data.{split}={config.data[split]}"
    if split == "test":
      lines.append(f"the content of {path}: its scores cannot be compared with earlier ones")
      continue
    if split == "train" and config.data.remove_overlap:
      path += ", after data.remove_overlap"
    raise UserError(
      f"the data of {split} has changed since this run was started ({path}): restore it, or choose "
      "another --workdir"
    )
  return lines


def settle_config(config: ConfigDict, workdir: str) -> None:
  """Writes the configuration into the workdir, unless the workdir belongs to another run."""
  changes = check_workdir(config, workdir)
  if changes is not None:
    for line in changes:
      say(f"changed since this run was started: {line}")
    cores = config_files.recorded_cpu_count(workdir)
    if cores != config_files.cpu_count():
      say(
        f"started on {cores} processors, now {config_files.cpu_count()}: results differ by rounding"
      )
  if changes != [] or not config_files.recorded_fingerprints(workdir):
    fingerprints = builders.data_fingerprints(config)
    if is_first():
      config_files.write_config(workdir, config, fingerprints)


def _made(workdir: str) -> list[str]:
  """Returns the names of the run's folders that exist."""
  return [x for x in ("checkpoints", "tokenizer") if os.path.isdir(os.path.join(workdir, x))]


def open_log(workdir: str, resume_at: int | None = None) -> MetricsLog | NoLog:
  """Returns the log of a run, see `MetricsLog`; only the first process writes it."""
  return MetricsLog(workdir, resume_at) if is_first() else NoLog()


def read_counters(workdir: str) -> tuple[int, Counters]:
  """Returns the step of the latest checkpoint and its counters; step 0 without a checkpoint."""
  saved = read_progress(workdir)
  return (saved[0], Counters.from_saved(saved[1])) if saved else (0, Counters())


def read_log(workdir: str) -> list[JsonObject]:
  """Returns the lines of metrics.jsonl, see `read_metrics`.

  Raises:
    UserError: if it cannot be read.
  """
  try:
    return list(read_metrics(workdir))
  except OSError as error:
    raise UserError(f"cannot read {workdir}/metrics.jsonl: {error.strerror}") from error


def final_metrics(
  config: ConfigDict, workdir: str, step: int, counters: Counters
) -> JsonObject | None:
  """Returns the metrics of the final evaluation, if training has ended at `step`; else None.

  Resumed training truncates the log, so that an evaluation in it belongs to the end of the run.
  """
  ended = step >= config.train.num_steps or counters.stopped_early
  if not ended or counters.evaluated != step:
    return None
  split = config.evaluate.split
  lines = [
    line for line in read_log(workdir) if "checkpoint_step" in line and line["split"] == split
  ]
  return lines[-1] if lines else None

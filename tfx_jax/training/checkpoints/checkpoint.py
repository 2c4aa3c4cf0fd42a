"""Saves and restores checkpoints with Orbax: the training state and the progress of the run."""

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as managers

from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError
from tfx_jax.training.checkpoints.checksum import checksums
from tfx_jax.training.checkpoints.manifest import write_manifest
from tfx_jax.training.checkpoints.verify import (
  CHECKSUMS,
  SETTINGS,
  Damaged,
  folder_of,
  read,
  read_progress_of,
  reason_of,
)
from tfx_jax.training.state import TrainState

# Upper bound of the bytes that a checkpoint takes beyond its arrays.
SPARE_BYTES = 1_000_000


class _LatestAndBest(managers.PreservationPolicy):
  """Keeps the latest checkpoints and, for each of them, the checkpoint that it calls the best."""

  def __init__(self, latest: int):
    self._latest = latest
    self.best_of: dict[int, int | None] = {}

  def should_preserve(
    self,
    checkpoints: Sequence[managers.PolicyCheckpointInfo],
    *,
    context: managers.PreservationContext,
  ) -> Sequence[bool]:
    latest = sorted(info.step for info in checkpoints)[-self._latest :]
    kept = {*latest, *(self.best_of.get(step) for step in latest)}
    return [info.step in kept for info in checkpoints]


class Checkpoints:
  """The folder `checkpoints` of a workdir, with one subfolder per step.

  A checkpoint appears whole or not at all: it is written under a temporary name and then renamed.
  Each array has a checksum, computed on the devices, and each file has one in a manifest, which is
  written last. Damage is detected on reading, and the previous checkpoint is used instead.

  Args:
    workdir: working directory of the run.
    keep: number of latest checkpoints to keep in addition to the best one. One more is kept in case
      the newest is damaged.
    settings: settings that decide which arrays a state has. They are saved with the state, so that
      an error can say which of them has changed.

  Raises:
    UserError: if the folder cannot be written.
  """

  def __init__(self, workdir: str, keep: int = 1, settings: Mapping[str, object] | None = None):
    self._workdir, self._settings = workdir, dict(settings or {})
    self._folder = os.path.abspath(os.path.join(workdir, "checkpoints"))
    self._policy = _LatestAndBest(keep + 1)
    self._finisher = ThreadPoolExecutor(1)
    self._saving: Future | None = None
    options = ocp.CheckpointManagerOptions(
      preservation_policy=self._policy, cleanup_tmp_directories=True
    )
    try:
      self._manager = ocp.CheckpointManager(self._folder, options=options)
    except OSError as error:
      raise UserError(f"cannot write checkpoints to {self._folder}: {error.strerror}") from error
    for step in self._manager.all_steps():
      try:
        self._policy.best_of[step] = read_progress_of(self._manager, step).get("best_step")
      except Damaged:  # reported when it is about to be used
        continue

  def latest(self) -> int | None:
    """Returns the newest saved step, or None."""
    return self._manager.latest_step()

  def steps(self) -> Sequence[int]:
    """Returns all saved steps."""
    return self._manager.all_steps()

  def check_disk(self, state: TrainState) -> None:
    """Checks that the disk has enough free space for a checkpoint, before anything is written.

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

  def save(self, state: TrainState, progress: JsonObject) -> None:
    """Saves in the background, once the previous save has ended; at most one save is in flight.

    Args:
      state: the arrays; they may be donated as soon as this returns.
      progress: progress of the run; `best_step` is the checkpoint to keep with the latest.

    Raises:
      UserError: if the previous or this checkpoint cannot be written, as on a full disk.
    """
    self.wait()
    self.check_disk(state)
    step = int(state.step)
    self._policy.best_of[step] = progress.get("best_step")
    saved_with = {**progress, SETTINGS: self._settings, CHECKSUMS: checksums(state)}
    arguments = ocp.args.Composite(
      state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(saved_with)
    )
    try:
      self._manager.save(step, args=arguments, force=True)
    except OSError as error:
      raise UserError(f"cannot save to {self._folder}: {error.strerror}") from error
    self._saving = self._finisher.submit(self._finish, step)

  def _finish(self, step: int) -> None:
    """Waits until all files are written, then lists them in the manifest."""
    self._manager.wait_until_finished()
    if jax.process_index() == 0:
      write_manifest(folder_of(self._manager, step))

  def wait(self) -> None:
    """Waits until the save in flight is on disk.

    Raises:
      UserError: if it could not be written.
    """
    saving, self._saving = self._saving, None
    if saving is None:
      return
    try:
      saving.result()
    except Exception as error:
      raise UserError(f"cannot save to {self._folder}: {reason_of(error)}") from error

  def restore(
    self, step: int, abstract: TrainState, shardings: TrainState, strict: bool = True
  ) -> tuple[TrainState, JsonObject]:
    """Returns the state that was saved at `step`, and the progress saved with it.

    Args:
      step: step of the checkpoint.
      abstract: shapes and dtypes of the state.
      shardings: sharding of each of its arrays.
      strict: whether the checkpoint must have a manifest.

    Raises:
      Damaged: if the checkpoint is not what was saved.
      UserError: if it was saved with other settings.
    """
    target = jax.tree.map(
      lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
      abstract,
      shardings,
    )
    arguments = ocp.args.StandardRestore(target)
    return read(self._manager, step, arguments, strict, self._settings)

  def restore_newest(
    self, abstract: TrainState, shardings: TrainState
  ) -> tuple[TrainState, JsonObject]:
    """Returns the newest undamaged state, and the progress saved with it.

    Newer checkpoints, all damaged, are reported and moved to WORKDIR/damaged, so that training can
    save at their steps again. A checkpoint without a manifest (the run was killed while saving) is
    used only if there is no other.

    Args:
      abstract: shapes and dtypes of the state.
      shardings: sharding of each of its arrays.

    Raises:
      UserError: if there is no usable checkpoint, or it was saved with other settings.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    damaged: dict[int, str] = {}
    for strict in (True, False):
      for step in steps:
        try:
          state, progress = self.restore(step, abstract, shardings, strict)
        except Damaged as error:
          damaged[step] = str(error)
          continue
        for newer in [other for other in steps if other > step]:
          self._set_aside(newer, damaged[newer], step)
        if not strict and jax.process_index() == 0:
          write_manifest(folder_of(self._manager, step))
        return state, progress
    reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
    raise UserError(
      f"no checkpoint of {self._workdir} is usable ({reasons}): put back a copy of "
      f"{self._folder}, or choose another --workdir to start from the beginning"
    )

  def _set_aside(self, step: int, damage: str, instead: int) -> None:
    place = os.path.join(self._workdir, "damaged", str(step))
    logging.warning(
      "checkpoint %d is damaged (%s): moved to %s; %d is used", step, damage, place, instead
    )
    if jax.process_index() == 0:
      try:
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.rename(folder_of(self._manager, step), place)
      except OSError as error:
        raise UserError(f"cannot write to workdir {self._workdir}: {error.strerror}") from error
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices(f"set aside {step}")
    self._manager.reload()

  def close(self) -> None:
    """Waits for the save in flight and closes the folder."""
    self.wait()
    self._finisher.shutdown()
    self._manager.close()

"""Checkpoints through Orbax: the state, and beside it what else a resumed run must know."""

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as managers

from tfx_jax.errors import UserError
from tfx_jax.training.checkpoints.checksum import checksums
from tfx_jax.training.checkpoints.manifest import write_manifest
from tfx_jax.training.checkpoints.verify import (
  CHECKSUMS,
  SETTINGS,
  SHAPES,
  Damaged,
  folder_of,
  read,
  read_progress_of,
  reason_of,
  shapes,
)
from tfx_jax.training.state import TrainState

# What a checkpoint takes beside its arrays, at most.
SPARE_BYTES = 1_000_000


class _LatestAndBest(managers.PreservationPolicy):
  """Keeps the latest checkpoints, and of each of them the best one that it knows."""

  def __init__(self, latest: int):
    self._latest = latest
    self.best_of: dict[int, int | None] = {}

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: managers.PreservationContext
  ) -> Sequence[bool]:
    latest = sorted(info.step for info in checkpoints)[-self._latest :]
    kept = {*latest, *(self.best_of.get(step) for step in latest)}
    return [info.step in kept for info in checkpoints]


class Checkpoints:
  """The folder `checkpoints` of a workdir, a subfolder per step.

  A checkpoint appears whole or not at all: it is written under another name and then renamed. Each
  array has a checksum, computed on the devices, and each file one in a manifest, which is written
  last. What is damaged later is found when it is read, and the checkpoint before it used.

  Args:
    workdir: of the run.
    keep: latest checkpoints kept, beside the best one; and one more, for if the newest is damaged.
    settings: that decide which arrays a state has; saved with it, to tell others from damage.

  Raises:
    UserError: if the folder cannot be written.
  """

  def __init__(self, workdir: str, keep: int = 1, settings: Mapping[str, Any] | None = None):
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
      except Damaged:  # told when it is to be used
        continue

  def latest(self) -> int | None:
    """The newest step saved, or None."""
    return self._manager.latest_step()

  def steps(self) -> Sequence[int]:
    """All steps that are saved."""
    return self._manager.all_steps()

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
    step = int(state.step)
    self._policy.best_of[step] = progress.get("best_step")
    beside = {**progress, SETTINGS: self._settings, SHAPES: shapes(state)}
    beside |= {CHECKSUMS: checksums(state)}
    arguments = ocp.args.Composite(
      state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(beside)
    )
    try:
      self._manager.save(step, args=arguments, force=True)
    except OSError as error:
      raise UserError(f"cannot save to {self._folder}: {error.strerror}") from error
    self._saving = self._finisher.submit(self._finish, step)

  def _finish(self, step: int) -> None:
    """Waits until all files are there, and writes down which they are."""
    self._manager.wait_until_finished()
    if jax.process_index() == 0:
      write_manifest(folder_of(self._manager, step))

  def wait(self) -> None:
    """Returns when the save in flight is on disk.

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
    self, step: int, abstract: TrainState, shardings: Any, strict: bool = True
  ) -> tuple[TrainState, dict]:
    """The state of `step`, sharded as asked, and its progress.

    Raises:
      Damaged: if it is not what was saved; where not `strict`, it may lack its manifest.
    """
    target = jax.tree.map(
      lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
      abstract,
      shardings,
    )
    arguments = ocp.args.StandardRestore(target)
    return read(self._manager, step, arguments, strict, self._settings)

  def restore_newest(self, abstract: TrainState, shardings: Any) -> tuple[TrainState, dict]:
    """The newest state that is what was saved, sharded as asked, and its progress.

    Damaged ones that are newer are told and moved to WORKDIR/damaged, so that training can pass
    their steps again. One that a kill has left without its manifest is used if there is no other.

    Raises:
      UserError: if there is none.
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
      f"{self._folder}, or choose another --workdir to begin anew"
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
    """Waits for the save in flight and lets go of the folder."""
    self.wait()
    self._finisher.shutdown()
    self._manager.close()

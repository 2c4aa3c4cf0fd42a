"""Reads checkpoints and verifies that they are what was saved."""

import json
import os
import re
from collections.abc import Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError
from tfx_jax.models.model import Params
from tfx_jax.training.checkpoints.checksum import checksums, paths
from tfx_jax.training.checkpoints.manifest import MISSING, find_damage

# Keys in the JSON `progress`: the arrays' checksums, and the settings that decide which arrays
# there are. Checkpoints of earlier versions have the arrays' shapes there, too.
CHECKSUMS, SETTINGS = "checksums", "settings"
_INTERNAL = (SETTINGS, "shapes")

_LONGEST_REASON = 200


class Damaged(Exception):
  """Raised when a checkpoint is not what was saved; the message is the reason in a few words."""


def read(
  manager: ocp.CheckpointManager,
  step: int,
  arguments: ocp.args.StandardRestore | ocp.args.PyTreeRestore,
  strict: bool = True,
  settings: Mapping[str, object] | None = None,
) -> tuple[Params, JsonObject]:
  """Returns the arrays that `arguments` request of a checkpoint, and its progress.

  The files are compared with the manifest, then the arrays on the devices with their checksums.
  Checkpoints of versions without checksums are used unverified, with a warning.

  Args:
    manager: manager of the folder of checkpoints.
    step: step of the checkpoint.
    arguments: arguments of Orbax to restore the state, or a part of it.
    strict: whether there must be a manifest; otherwise the checksums are enough.
    settings: settings that the requested arrays follow from; None if the shapes are known to be
      those that were saved.

  Raises:
    Damaged: on all processes, if something is not what was saved.
    UserError: if nothing is damaged, but the checkpoint was saved with other settings.
  """
  first = jax.process_index() == 0
  damage = _from_first(find_damage(folder_of(manager, step)) if first else None)
  if damage and damage != MISSING:
    raise Damaged(damage)
  if settings is not None:
    _check_shapes(manager, step, arguments.item, settings)
  reason, state, progress = None, None, {}
  try:
    items = ocp.args.Composite(state=arguments, progress=ocp.args.JsonRestore())
    restored = manager.restore(step, args=items)
    state, progress = restored["state"], dict(restored["progress"])
  except Exception as error:  # Orbax and TensorStore raise all kinds
    reason = damage or reason_of(error)
  _all_agree(reason)
  for key in _INTERNAL:
    progress.pop(key, None)
  saved = progress.pop(CHECKSUMS, None)
  if saved is None:
    logging.warning("%s was saved without checksums: it is not verified", folder_of(manager, step))
    return state, progress
  if damage and strict:
    raise Damaged(damage)
  for path, checksum in checksums(state).items():
    if checksum != saved.get(path):
      raise Damaged(f"the array {path} is not what was saved")
  return state, progress


def read_progress_of(manager: ocp.CheckpointManager, step: int) -> JsonObject:
  """Returns the progress saved with a checkpoint; of its other files only the size is checked.

  Raises:
    Damaged: if something is not what was saved.
  """
  damage = find_damage(folder_of(manager, step), read="progress")
  if damage and damage != MISSING:
    raise Damaged(damage)
  try:
    progress = _restore_progress(manager, step)
  except Exception as error:
    raise Damaged(damage or reason_of(error)) from error
  for key in _INTERNAL:
    progress.pop(key, None)
  if progress.pop(CHECKSUMS, None) is not None and damage:
    raise Damaged(damage)
  return progress


def _restore_progress(manager: ocp.CheckpointManager, step: int) -> JsonObject:
  items = ocp.args.Composite(progress=ocp.args.JsonRestore())
  return dict(manager.restore(step, args=items)["progress"])


def _check_shapes(
  manager: ocp.CheckpointManager, step: int, target: Params, settings: Mapping[str, object]
) -> None:
  """Checks that the requested arrays have the shapes of the saved ones.

  Raises:
    UserError: if not, naming the setting that has changed, or an array if none is known to have.
  """
  try:
    handler = ocp.PyTreeCheckpointHandler()
    saved = _shapes(handler.metadata(manager.directory / str(step) / "state").tree)
    saved_settings = _restore_progress(manager, step).get(SETTINGS, {})
  except Exception:  # damaged, which is reported when everything is read
    return
  requested = _shapes(target)
  fields = {path.split("/")[0] for path in requested}
  saved = {path: shape for path, shape in saved.items() if path.split("/")[0] in fields}
  if requested == saved:
    return
  path = min(path for path in {*requested, *saved} if requested.get(path) != saved.get(path))
  before, now = f"the array {path}: {saved.get(path)}", f"{requested.get(path)}"
  for key, value in json.loads(json.dumps(settings)).items():  # tuples become lists, as in JSON
    if saved_settings.get(key, value) != value:
      before, now = f"{key}={saved_settings[key]!r}", f"{value!r}"
      break
  raise UserError(
    f"{folder_of(manager, step)} was saved with {before}, and the configuration makes it "
    f"{now}: put the old setting back"
  )


def _shapes(tree: Params) -> dict[str, list[int]]:
  """Returns the shape of each leaf by its path, like 'params/kernel'."""
  return dict(zip(paths(tree), (list(x.shape) for x in jax.tree.leaves(tree)), strict=True))


def folder_of(manager: ocp.CheckpointManager, step: int) -> str:
  """Returns the folder of a checkpoint."""
  return os.path.join(str(manager.directory), str(step))


def reason_of(error: BaseException) -> str:
  """Returns the operating system's message from the chain of causes, else the first line."""
  cause: BaseException | None = error
  while cause is not None:
    if isinstance(cause, OSError) and cause.strerror:
      return cause.strerror
    if code := re.search(r"os_error_code='(\d+)'", str(cause)):  # in messages of TensorStore
      return os.strerror(int(code[1]))
    cause = cause.__cause__ or cause.__context__
  return f"{type(error).__name__}: {error}".splitlines()[0]


def _from_first(text: str | None) -> str | None:
  """Returns the first process's text on all processes."""
  if jax.process_count() == 1:
    return text
  content = np.zeros(_LONGEST_REASON, np.uint8)
  encoded = np.frombuffer((text or "").encode()[:_LONGEST_REASON], np.uint8)
  content[: len(encoded)] = encoded
  received = multihost_utils.broadcast_one_to_all(content)
  return bytes(np.asarray(received, np.uint8)).rstrip(b"\0").decode(errors="replace") or None


def _all_agree(reason: str | None) -> None:
  """Raises Damaged on all processes if one of them has a reason."""
  if jax.process_count() > 1:
    failed = multihost_utils.process_allgather(np.array(reason is not None))
    reason = reason or ("another process could not read it" if failed.any() else None)
  if reason:
    raise Damaged(reason)

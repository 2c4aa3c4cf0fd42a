"""Reads checkpoints and makes sure that they are what was saved."""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from tfx_jax.errors import UserError
from tfx_jax.training.checkpoints.checksum import checksums, paths
from tfx_jax.training.checkpoints.manifest import MISSING, find_damage

# Where among what is saved beside the arrays their checksums are.
CHECKSUMS = "checksums"
# And the settings that decide which arrays there are, and the shapes of these.
SETTINGS, SHAPES = "settings", "shapes"

_LONGEST_REASON = 200


class Damaged(Exception):
  """A checkpoint is not what was saved; says why in a few words."""


def read(
  manager: ocp.CheckpointManager,
  step: int,
  arguments: ocp.args.CheckpointArgs,
  strict: bool = True,
  settings: Mapping[str, Any] | None = None,
) -> tuple[Any, dict]:
  """What `arguments` ask for of the state of a checkpoint, and what was saved beside it.

  The files are compared with the manifest, then the arrays on the devices with their checksums.
  What was saved before there were checksums is taken as it is, with a warning.

  Args:
    manager: of the folder.
    step: of the checkpoint.
    arguments: how to restore the state, or a part of it.
    strict: whether a manifest must be there; if not, the checksums must do.
    settings: by which the arrays that `arguments` ask for were made, if known.

  Raises:
    Damaged: on all processes, if something is not as it was saved.
    UserError: if all is as it was saved, by other settings.
  """
  first = jax.process_index() == 0
  damage = _from_first(find_damage(folder_of(manager, step)) if first else None)
  if damage and damage != MISSING:
    raise Damaged(damage)
  _check_shapes(manager, step, arguments.item, settings or {})
  reason, restored = None, {}
  try:
    items = ocp.args.Composite(state=arguments, progress=ocp.args.JsonRestore())
    restored = manager.restore(step, args=items)
    state, progress = restored["state"], dict(restored["progress"])
  except Exception as error:  # Orbax and TensorStore raise all kinds
    reason = damage or reason_of(error)
  _all_agree(reason)
  for key in (SETTINGS, SHAPES):
    progress.pop(key, None)
  saved = progress.pop(CHECKSUMS, None)
  if saved is None:
    logging.warning(
      "%s was saved without checksums: it is taken as it is", folder_of(manager, step)
    )
    return state, progress
  if damage and strict:
    raise Damaged(damage)
  for path, found in checksums(state).items():
    if found != saved.get(path):
      raise Damaged(f"the array {path} is not what was saved")
  return state, progress


def read_progress_of(manager: ocp.CheckpointManager, step: int) -> dict:
  """What was saved beside the state of a checkpoint; of other files only the size is looked at.

  Raises:
    Damaged: if something is not as it was saved.
  """
  damage = find_damage(folder_of(manager, step), read="progress")
  if damage and damage != MISSING:
    raise Damaged(damage)
  try:
    items = ocp.args.Composite(progress=ocp.args.JsonRestore())
    progress = dict(manager.restore(step, args=items)["progress"])
  except Exception as error:
    raise Damaged(damage or reason_of(error)) from error
  for key in (SETTINGS, SHAPES):
    progress.pop(key, None)
  if progress.pop(CHECKSUMS, None) is not None and damage:
    raise Damaged(damage)
  return progress


def shapes(tree: Any) -> dict[str, list[int]]:
  """The shape of each leaf by its path, as in 'params/kernel'."""
  return dict(zip(paths(tree), (list(x.shape) for x in jax.tree.leaves(tree)), strict=True))


def _check_shapes(
  manager: ocp.CheckpointManager, step: int, target: Any, settings: Mapping[str, Any]
) -> None:
  """Looks whether the arrays asked for are those that were saved, if that was written down.

  Raises:
    UserError: if they are not, naming the setting that has changed.
  """
  try:
    items = ocp.args.Composite(progress=ocp.args.JsonRestore())
    progress = manager.restore(step, args=items)["progress"]
  except Exception:  # damaged: told when all is read
    return
  if SHAPES not in progress:
    return
  asked = shapes(target)
  fields = {path.split("/")[0] for path in asked}
  saved = {path: x for path, x in progress[SHAPES].items() if path.split("/")[0] in fields}
  if asked == saved:
    return
  other = min(path for path in {*asked, *saved} if asked.get(path) != saved.get(path))
  difference = f"the array {other}: {saved.get(other)}", f"{asked.get(other)}"
  for key, value in json.loads(json.dumps(settings)).items():  # tuples are lists there
    if progress[SETTINGS].get(key, value) != value:
      difference = f"{key}={progress[SETTINGS][key]!r}", f"{value!r}"
      break
  raise UserError(
    f"{folder_of(manager, step)} was saved with {difference[0]}, and the configuration makes it "
    f"{difference[1]}: put the old setting back"
  )


def folder_of(manager: ocp.CheckpointManager, step: int) -> str:
  """Of a checkpoint."""
  return os.path.join(str(manager.directory), str(step))


def reason_of(error: BaseException) -> str:
  """What the operating system said, wherever in the chain of causes; else the first line."""
  cause: BaseException | None = error
  while cause is not None:
    if isinstance(cause, OSError) and cause.strerror:
      return cause.strerror
    if code := re.search(r"os_error_code='(\d+)'", str(cause)):  # TensorStore's way of telling
      return os.strerror(int(code[1]))
    cause = cause.__cause__ or cause.__context__
  return f"{type(error).__name__}: {error}".splitlines()[0]


def _from_first(text: str | None) -> str | None:
  """What the first process says, on all of them."""
  if jax.process_count() == 1:
    return text
  content = np.zeros(_LONGEST_REASON, np.uint8)
  encoded = np.frombuffer((text or "").encode()[:_LONGEST_REASON], np.uint8)
  content[: len(encoded)] = encoded
  told = multihost_utils.broadcast_one_to_all(content)
  return bytes(np.asarray(told, np.uint8)).rstrip(b"\0").decode(errors="replace") or None


def _all_agree(reason: str | None) -> None:
  """Raises Damaged on all processes if one of them has a reason."""
  if jax.process_count() > 1:
    failed = multihost_utils.process_allgather(np.array(reason is not None))
    reason = reason or ("another process could not read it" if failed.any() else None)
  if reason:
    raise Damaged(reason)

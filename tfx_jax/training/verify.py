"""Reads checkpoints and makes sure that they are what was saved."""

import os
import re
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from tfx_jax.training.checksum import checksums
from tfx_jax.training.manifest import MISSING, find_damage

# Where among what is saved beside the arrays their checksums are.
CHECKSUMS = "checksums"

_LONGEST_REASON = 200


class Damaged(Exception):
  """A checkpoint is not what was saved; says why in a few words."""


def read(
  manager: ocp.CheckpointManager,
  step: int,
  arguments: ocp.args.CheckpointArgs,
  strict: bool = True,
) -> tuple[Any, dict]:
  """What `arguments` ask for of the state of a checkpoint, and what was saved beside it.

  The files are compared with the manifest, then the arrays on the devices with their checksums.
  What was saved before there were checksums is taken as it is, with a warning.

  Args:
    manager: of the folder.
    step: of the checkpoint.
    arguments: how to restore the state, or a part of it.
    strict: whether a manifest must be there; if not, the checksums must do.

  Raises:
    Damaged: on all processes, if something is not as it was saved.
  """
  first = jax.process_index() == 0
  damage = _from_first(find_damage(folder_of(manager, step)) if first else None)
  if damage and damage != MISSING:
    raise Damaged(damage)
  reason, restored = None, {}
  try:
    items = ocp.args.Composite(state=arguments, progress=ocp.args.JsonRestore())
    restored = manager.restore(step, args=items)
    state, progress = restored["state"], dict(restored["progress"])
  except Exception as error:  # Orbax and TensorStore raise all kinds
    reason = damage or reason_of(error)
  _all_agree(reason)
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
  if progress.pop(CHECKSUMS, None) is not None and damage:
    raise Damaged(damage)
  return progress


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

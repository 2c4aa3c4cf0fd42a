"""The mean of several checkpoints, kept in the workdir so that it is computed only once.

WORKDIR/average.npz holds the parameters as plain arrays, the CRC-32 of each (the zip format's), and
the steps of the checkpoints with the SHA-256 of their manifests, which list the checksum of every
file. If any of this is not as it should be, the file is not used, and the next mean replaces it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence

import jax
import numpy as np

from tfx_jax.common.whole_file import whole_file
from tfx_jax.models.model import Params
from tfx_jax.training.checkpoints.checksum import paths
from tfx_jax.training.checkpoints.manifest import MANIFEST

FILE = "average.npz"

_ORIGIN = "made_from"
# The mean is kept if the disk has this many times its size left.
_SPARE_COPIES = 10


def origin_of(workdir: str, steps: Sequence[int]) -> str | None:
  """Returns what identifies the contents of checkpoints; None if one of them has no manifest.

  None with several processes, too: then each process has only a part of the parameters.
  """
  if jax.process_count() > 1:
    return None
  digests = {}
  for step in steps:
    try:
      with open(os.path.join(workdir, "checkpoints", str(step), MANIFEST), "rb") as file:
        digests[str(step)] = hashlib.sha256(file.read()).hexdigest()
    except OSError:
      return None
  return json.dumps(digests)


def read_average(workdir: str, origin: str | None, target: Params) -> Params | None:
  """Returns the kept mean if it is undamaged and was made from `origin`, else None.

  Args:
    workdir: working directory of the run.
    origin: the checkpoints, see `origin_of`.
    target: shapes, dtypes and shardings of the parameters.
  """
  if origin is None:
    return None
  leaves, structure = jax.tree.flatten(target)
  try:
    with open(os.path.join(workdir, FILE), "rb") as file:
      saved = np.load(file, allow_pickle=False)
      if str(saved[_ORIGIN]) != origin or len(saved.files) != len(leaves) + 1:
        return None
      arrays = [saved[path] for path in paths(target)]
  except Exception:  # reading a damaged file raises all kinds
    return None
  if any((x.shape, x.dtype) != (y.shape, y.dtype) for x, y in zip(arrays, leaves, strict=True)):
    return None
  shardings = [x.sharding for x in leaves]
  return structure.unflatten(jax.device_put(arrays, shardings))


def keep_average(workdir: str, origin: str | None, params: Params) -> None:
  """Keeps the mean that was made from `origin`, if the workdir may be written to and has space."""
  size = sum(x.nbytes for x in jax.tree.leaves(params))
  try:
    if origin is None or shutil.disk_usage(workdir).free < _SPARE_COPIES * size:
      return
    arrays = dict(zip(paths(params), jax.device_get(jax.tree.leaves(params)), strict=True))
    with whole_file(os.path.join(workdir, FILE)) as file:
      np.savez(file, **{_ORIGIN: np.array(origin)}, **arrays)
  except OSError:  # such as a folder that only its owner may write to
    return

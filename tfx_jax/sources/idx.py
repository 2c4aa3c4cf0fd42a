"""Pictures with labels in IDX files, as MNIST is distributed.

The format is described with the data: http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from tfx_jax.errors import MissingFile, UserError, nearest

# Pictures are those of the file, or made black and white: at half of the brightness, or by one
# draw of each pixel with its brightness as the probability.
PICTURES = ("picture", "binary", "sampled")
FIELDS = (*PICTURES, "label", "name")
_ENDINGS = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}
_BYTES = 8  # type of values in the magic number
_CHUNK = 1000  # pictures that are drawn together


class IdxSource:
  """Pictures, uint8 [H,W,1], with labels from PREFIX-images-idx3-ubyte and -labels-idx1-ubyte.

  Fields of records are `picture`; `binary` and `sampled`, made black and white, the second as
  Salakhutdinov and Murray (2008) did, but with draws of our own; `label`, such as "7"; and `name`,
  "digit" for all.

  Args:
    path: PREFIX; both files may be compressed by gzip.
    fields: fields of the records, of FIELDS.

  Attributes:
    fingerprint: a hash that changes exactly when the records do.

  Raises:
    UserError: for a missing or damaged file, or an unknown field.
  """

  def __init__(self, path: str, fields: Sequence[str]) -> None:
    for field in fields:
      if field not in FIELDS:
        raise UserError(f"fields: IDX files have no '{field}'{nearest(field, FIELDS)}")
    self._fields = tuple(fields)
    images, labels = (_read(path, kind) for kind in _ENDINGS)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
      raise UserError(
        f"{path}: images of shape {list(images.shape)} and labels of shape {list(labels.shape)} "
        "do not belong together"
      )
    self._images, self._labels = images[..., None], labels  # [N,H,W] -> [N,H,W,1]
    digest = hashlib.blake2b(images.tobytes() + labels.tobytes(), digest_size=16)
    self.fingerprint = f"idx-{digest.hexdigest()}-{'-'.join(fields)}"

  def __iter__(self) -> Iterator[dict]:
    rng = np.random.default_rng(0)
    for start in range(0, len(self._images), _CHUNK):
      grey = self._images[start : start + _CHUNK]
      labels = [str(label) for label in self._labels[start : start + _CHUNK]]
      # The same draws whichever fields are read.
      sampled = np.where(rng.integers(0, 255, grey.shape) < grey, 255, 0).astype(np.uint8)
      values = {
        "picture": grey,
        "binary": np.where(grey >= 128, 255, 0).astype(np.uint8),
        "sampled": sampled,
        "label": labels,
        "name": ["digit"] * len(grey),
      }
      columns = [values[field] for field in self._fields]
      for row in zip(*columns, strict=True):
        yield dict(zip(self._fields, row, strict=True))


def _read(prefix: str, kind: str) -> np.ndarray:
  """Returns the array of a file, uint8, plain or compressed.

  Raises:
    UserError: if it is missing or damaged.
  """
  path = f"{prefix}-{_ENDINGS[kind]}"
  if not os.path.exists(path) and os.path.exists(f"{path}.gz"):
    path += ".gz"
  try:
    with open(path, "rb") as file:
      content = file.read()
    if path.endswith(".gz"):
      content = gzip.decompress(content)
  except FileNotFoundError as error:
    raise MissingFile(f"no file {path}[.gz]") from error
  except (OSError, EOFError, zlib.error) as error:
    raise UserError(f"cannot read {path}: {error}") from error
  axes = content[3] if len(content) > 3 else 0
  start = 4 + 4 * axes
  shape = np.frombuffer(content[:start], ">u4", offset=4).tolist() if len(content) >= start else []
  if content[:3] != bytes((0, 0, _BYTES)) or len(content) != start + math.prod(shape):
    raise UserError(f"{path} is no IDX file of bytes, or is truncated")
  return np.frombuffer(content, np.uint8, offset=start).reshape(shape)

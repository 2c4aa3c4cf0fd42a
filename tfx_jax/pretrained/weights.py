"""Conversion between the tensors of other libraries and our parameters."""

import dataclasses
import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np
from flax import traverse_util

from tfx_jax.common.tree import Tree
from tfx_jax.errors import UserError
from tfx_jax.models.model import Params

# Tensors of another library by name; they may be read only when they are requested.
Tensors = Mapping[str, np.ndarray]


class Kind(enum.Enum):
  """Layout of another library's tensor.

  LINEAR is a weight [outputs, inputs], as in torch's Linear, and PRODUCT a weight [inputs,
  outputs]. FLAT is a vector with our numbers in their order. ROWS has one row per position and
  TOKENS one per token; ours may have further rows, all zero. SAME has our shape.
  """

  LINEAR = enum.auto()
  PRODUCT = enum.auto()
  FLAT = enum.auto()
  ROWS = enum.auto()
  TOKENS = enum.auto()
  SAME = enum.auto()


@dataclasses.dataclass(frozen=True)
class Entry:
  """Another library's tensor, or one per layer, and our parameters that it corresponds to.

  Attributes:
    name: name of the tensor; `{}` in it stands for the number of a layer.
    paths: paths of our parameters, joined by slashes; several share the tensor's outputs evenly.
    kind: layout of the tensor.
    inputs: number of our axes that are inputs (LINEAR and PRODUCT).
    rows: number of rows of the tensor (ROWS and TOKENS).
    skipped: number of first rows that are unused (ROWS).
    lead: true if the tensor has a leading axis of size 1.
  """

  name: str
  paths: tuple[str, ...]
  kind: Kind = Kind.SAME
  inputs: int = 1
  rows: int = 0
  skipped: int = 0
  lead: bool = False

  def foreign_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the tensor's shape, given the shape of each of our parameters."""
    lead = (1,) * self.lead
    if self.kind is Kind.SAME:
      return (*lead, *shape)
    if self.kind in (Kind.ROWS, Kind.TOKENS):
      return (*lead, self.rows, *shape[1:])
    inputs = self.inputs if self.kind is not Kind.FLAT else 0
    ins, outs = math.prod(shape[:inputs]), math.prod(shape[inputs:]) * len(self.paths)
    axes = {Kind.LINEAR: (outs, ins), Kind.PRODUCT: (ins, outs), Kind.FLAT: (outs,)}
    return (*lead, *axes[self.kind])

  def ours(self, tensor: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Returns our parameters of this shape, one for each path."""
    if self.lead:
      tensor = tensor[0]
    if self.kind in (Kind.ROWS, Kind.TOKENS):
      rows = tensor[self.skipped :]
      return [np.pad(rows, [(0, shape[0] - len(rows)), *[(0, 0)] * (rows.ndim - 1)])]
    if self.kind is Kind.LINEAR:
      tensor = tensor.T
    return [part.reshape(shape) for part in np.split(tensor, len(self.paths), axis=-1)]

  def foreign(self, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the tensor of our parameters; the inverse of `ours`."""
    shape = self.foreign_shape(parts[0].shape)
    if self.kind in (Kind.ROWS, Kind.TOKENS):
      rows = parts[0][: self.rows - self.skipped]
      whole = np.pad(rows, [(self.skipped, 0), *[(0, 0)] * (rows.ndim - 1)])
    elif self.kind in (Kind.LINEAR, Kind.PRODUCT):
      ins = math.prod(parts[0].shape[: self.inputs])
      whole = np.concatenate([part.reshape(ins, -1) for part in parts], axis=1)
      whole = whole.T if self.kind is Kind.LINEAR else whole
    else:
      whole = np.concatenate([part.reshape(-1) for part in parts])
    return np.ascontiguousarray(whole.reshape(shape))


def read(
  entries: Iterable[Entry],
  tensors: Tensors,
  abstract: Params,
  ignored: Callable[[str], bool],
  origin: str,
) -> Params:
  """Returns our parameters, in float32, from the tensors of another library.

  Args:
    entries: correspondence of tensors and parameters; each parameter occurs once.
    tensors: tensors by name.
    abstract: shapes of our parameters.
    ignored: function that returns true for names of tensors that need not be used.
    origin: path of the tensors, for errors.

  Raises:
    UserError: naming a tensor that is missing, unused, of another shape, or not of floats.
  """
  shapes = {path: x.shape for path, x in _flat(abstract).items()}
  params: dict[str, np.ndarray] = {}
  used = set()
  for entry in entries:
    whole = shapes[entry.paths[0]]
    layers = whole[0] if "{}" in entry.name else None
    shape = whole if layers is None else whole[1:]
    names = [entry.name] if layers is None else [entry.name.format(n) for n in range(layers)]
    parts = []
    for name in names:
      parts.append(entry.ours(_checked(name, tensors, entry.foreign_shape(shape), origin), shape))
      used.add(name)
    for path, values in zip(entry.paths, zip(*parts, strict=True), strict=True):
      params[path] = values[0] if layers is None else np.stack(values)
  extra = sorted(name for name in tensors if name not in used and not ignored(name))
  if extra:
    raise UserError(f"{origin} has {_some(extra)}, which this architecture does not use")
  assert params.keys() == shapes.keys(), sorted(params.keys() ^ shapes.keys())
  return traverse_util.unflatten_dict(params, sep="/")


def write(entries: Iterable[Entry], params: Params, ids: Sequence[int]) -> dict[str, np.ndarray]:
  """Returns another library's tensors, by name, from our parameters.

  Args:
    entries: correspondence of tensors and parameters.
    params: our parameters.
    ids: our id of each token, in the order of the other library's ids.
  """
  flat = _flat(jax.device_get(params))
  tensors = {}
  for entry in entries:
    parts = [np.asarray(flat[path]) for path in entry.paths]
    if entry.kind is Kind.TOKENS:
      parts = [part[np.asarray(ids)] for part in parts]
    if "{}" not in entry.name:
      tensors[entry.name] = entry.foreign(parts)
      continue
    for number in range(len(parts[0])):
      tensors[entry.name.format(number)] = entry.foreign([part[number] for part in parts])
  return tensors


def _flat(params: Params) -> dict[str, Tree]:
  """Returns the leaves of a tree by their paths."""
  return dict(traverse_util.flatten_dict(params, sep="/"))


def _checked(name: str, tensors: Tensors, shape: tuple[int, ...], origin: str) -> np.ndarray:
  if name not in tensors:
    raise UserError(f"{origin} lacks the tensor {name} {list(shape)}")
  tensor = np.asarray(tensors[name])
  if tensor.shape != shape:
    raise UserError(
      f"{origin}: the tensor {name} is {list(tensor.shape)}, but {list(shape)} by config.json"
    )
  if not jax.numpy.issubdtype(tensor.dtype, jax.numpy.floating):
    raise UserError(f"{origin}: the tensor {name} is of {tensor.dtype}, not of floats")
  return tensor.astype(np.float32)


def _some(names: list[str]) -> str:
  """Returns the first of some names, and the number of others."""
  more = f" and {len(names) - 1} more" if len(names) > 1 else ""
  return f"the tensor {names[0]}{more}"

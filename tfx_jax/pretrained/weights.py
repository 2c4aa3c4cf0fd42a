"""How a foreign tensor and our parameters are made of each other."""

import dataclasses
import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from tfx_jax.errors import UserError

# Foreign tensors by name: what they are is looked up when they are needed.
Tensors = Mapping[str, np.ndarray]


class Kind(enum.Enum):
  """What a foreign tensor is.

  LINEAR is a weight [outputs, inputs], as of torch's Linear; PRODUCT one [inputs, outputs]; FLAT a
  vector, in the order of our numbers; ROWS has a row for each position and TOKENS one for each
  token, of which ours may have more, all zero; SAME is of our shape.
  """

  LINEAR = enum.auto()
  PRODUCT = enum.auto()
  FLAT = enum.auto()
  ROWS = enum.auto()
  TOKENS = enum.auto()
  SAME = enum.auto()


@dataclasses.dataclass(frozen=True)
class Entry:
  """One foreign tensor, or one in each layer.

  Attributes:
    name: foreign; `{}` in it is the number of a layer.
    paths: of our parameters, joined by slashes; several share the tensor's outputs evenly.
    kind: see `Kind`.
    inputs: of LINEAR and PRODUCT, how many of our axes are inputs.
    rows: of ROWS and TOKENS, how many the tensor has.
    skipped: of ROWS, how many of these, the first, mean nothing.
    lead: whether the tensor has an axis of one in front.
  """

  name: str
  paths: tuple[str, ...]
  kind: Kind = Kind.SAME
  inputs: int = 1
  rows: int = 0
  skipped: int = 0
  lead: bool = False

  def foreign_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The foreign tensor's shape, if each of ours has this one."""
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
    """Our parameters of this `shape`, one for each path."""
    if self.lead:
      tensor = tensor[0]
    if self.kind in (Kind.ROWS, Kind.TOKENS):
      rows = tensor[self.skipped :]
      return [np.pad(rows, [(0, shape[0] - len(rows)), *[(0, 0)] * (rows.ndim - 1)])]
    if self.kind is Kind.LINEAR:
      tensor = tensor.T
    return [part.reshape(shape) for part in np.split(tensor, len(self.paths), axis=-1)]

  def foreign(self, parts: Sequence[np.ndarray]) -> np.ndarray:
    """The foreign tensor of our parameters, the inverse of `ours`."""
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
  abstract: Any,
  ignored: Callable[[str], bool],
  origin: str,
) -> Any:
  """Our parameters, float32, from foreign tensors.

  Args:
    entries: what is where; together they name all of our parameters once.
    tensors: by name.
    abstract: our parameters' shapes.
    ignored: whether a tensor of this name may be left over.
    origin: of the tensors, for errors.

  Raises:
    UserError: naming the tensor that is missing, left over, of another shape, or no floats.
  """
  flat = traverse_util.flatten_dict(abstract, sep="/")
  found: dict[str, Any] = {}
  used = set()
  for entry in entries:
    whole = [flat[path].shape for path in entry.paths]
    layers = whole[0][0] if "{}" in entry.name else None
    shape = whole[0] if layers is None else whole[0][1:]
    names = [entry.name] if layers is None else [entry.name.format(n) for n in range(layers)]
    parts = []
    for name in names:
      parts.append(entry.ours(_checked(name, tensors, entry.foreign_shape(shape), origin), shape))
      used.add(name)
    for path, values in zip(entry.paths, zip(*parts, strict=True), strict=True):
      found[path] = values[0] if layers is None else np.stack(values)
  extra = sorted(name for name in tensors if name not in used and not ignored(name))
  if extra:
    raise UserError(f"{origin} holds {_some(extra)}, which this architecture has not")
  assert found.keys() == flat.keys(), sorted(found.keys() ^ flat.keys())
  return traverse_util.unflatten_dict(found, sep="/")


def write(entries: Iterable[Entry], params: Any, ids: Sequence[int]) -> dict[str, np.ndarray]:
  """Foreign tensors by name, of our parameters; `ids` are ours of tokens in their order."""
  flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
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


def _checked(name: str, tensors: Tensors, shape: tuple[int, ...], origin: str) -> np.ndarray:
  if name not in tensors:
    raise UserError(f"{origin} lacks the tensor {name} {list(shape)}")
  tensor = np.asarray(tensors[name])
  if tensor.shape != shape:
    raise UserError(
      f"{origin}: the tensor {name} is {list(tensor.shape)}, by config.json it is {list(shape)}"
    )
  if not jax.numpy.issubdtype(tensor.dtype, jax.numpy.floating):
    raise UserError(f"{origin}: the tensor {name} holds no floats but {tensor.dtype}")
  return tensor.astype(np.float32)


def _some(names: list[str]) -> str:
  """The first of some names, and how many more there are."""
  more = f" and {len(names) - 1} more" if len(names) > 1 else ""
  return f"the tensor {names[0]}{more}"

"""Device mesh, and the mesh axis that shards each logical axis.

Parameters are sharded over `fsdp` along the model dimension and over `tensor` along heads,
feed-forward and vocabulary. Batches are sharded over `slices`, `data` and `fsdp` together.
Activations are also sharded over `sequence` along the length of a row; attention gathers keys and
values.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from flax import linen as nn
from flax.linen import spmd
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tfx_jax.errors import UserError

# Trees of arrays, of their shapes, or of their shardings; the structure is the caller's.
Tree = TypeVar("Tree")
Arrays = Any
Shardings = Any

# Ordered from the slowest network to the fastest.
AXES = ("slices", "data", "fsdp", "sequence", "tensor")
ROWS = ("slices", "data", "fsdp")

RULES = (
  ("embed", "fsdp"),
  ("heads", "tensor"),
  ("mlp", "tensor"),
  ("vocab", "tensor"),
  ("layers", None),
  ("batch", ROWS),
  ("length", "sequence"),
  ("key_length", None),
  ("act_embed", None),
  ("act_heads", "tensor"),
  ("act_mlp", "tensor"),
  ("act_vocab", "tensor"),
)


class Parallel:
  """A mesh of all devices, with its sharding rules.

  Args:
    data: number of devices that only the batch is split over; -1 means all remaining devices.
    fsdp: number of devices that batch, parameters and optimizer state are split over.
    tensor: number of devices that heads, feed-forward and vocabulary are split over.
    sequence: number of devices that rows are split over along their length.
    slices: number of groups of devices that are connected by a slower network; only the batch is
      split over them.

  Raises:
    UserError: if the product of the sizes is not the number of devices, or the number of slices is
      not that of the TPU.
  """

  def __init__(
    self, data: int = -1, fsdp: int = 1, tensor: int = 1, sequence: int = 1, slices: int = 1
  ):
    asked = {
      "data": data, "fsdp": fsdp, "tensor": tensor, "sequence": sequence, "slices": slices
    }  # fmt: skip
    self.sizes = {axis: filled(asked, jax.device_count())[axis] for axis in AXES}
    devices = arrange(jax.devices(), tuple(self.sizes.values()))
    self.mesh = Mesh(devices, AXES, axis_types=(AxisType.Auto,) * len(AXES))
    self.replicated = NamedSharding(self.mesh, PartitionSpec())
    self.by_row = NamedSharding(self.mesh, PartitionSpec(ROWS))

  @property
  def batch_shards(self) -> int:
    """Number of parts that the rows of a batch are split into."""
    return math.prod(self.sizes[axis] for axis in ROWS)

  @property
  def on_cpu(self) -> bool:
    """True if the devices are CPUs."""
    return self.mesh.devices.flat[0].platform == "cpu"

  @property
  def batch_parts(self) -> tuple[int, int]:
    """Number of parts that the rows of a batch are split into, and that a row's length is."""
    return self.batch_shards, self.sizes["sequence"]

  @functools.cached_property
  def local_shards(self) -> list[int]:
    """Numbers of the parts of a batch that lie on this process's devices.

    Processes that share a part (`tensor` may span several processes) all list it.
    """
    by_part = self.mesh.devices.reshape(self.batch_shards, -1)
    process = jax.process_index()
    return [
      number for number, part in enumerate(by_part) if any(d.process_index == process for d in part)
    ]

  @contextlib.contextmanager
  def context(self) -> Iterator[None]:
    """Makes logical sharding constraints refer to this mesh, for a `with` statement."""
    with jax.set_mesh(self.mesh), nn.logical_axis_rules(RULES):
      yield

  def jit(self, function: Callable, **options: Any) -> "Program":
    """Returns `jax.jit` of a function; tracing and calls happen in `context`."""
    return Program(self, jax.jit(function, **options))

  def split_rows(self, tree: Tree) -> Tree:
    """Constrains the first axis of each array to be split by row; the other axes are free.

    Used inside compiled functions, so that the outputs of one call have the sharding that the next
    call was compiled for.
    """
    free = PartitionSpec.UNCONSTRAINED

    def split(x: jax.Array) -> jax.Array:
      spec = PartitionSpec(*self.by_row.spec, *[free] * (x.ndim - 1)) if x.ndim else PartitionSpec()
      return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, spec))

    return jax.tree.map(split, tree)

  def shardings(self, boxed: Arrays) -> Shardings:
    """Returns the sharding of each leaf of a tree of abstract, boxed parameters (or a state).

    The structure is that of the tree without the boxes.

    Raises:
      ValueError: for a logical axis that has no rule.
    """
    known = {name for name, _ in RULES}
    specs = nn.get_partition_spec(boxed)
    for spec in jax.tree.leaves(specs, is_leaf=lambda x: isinstance(x, PartitionSpec)):
      unknown = {name for name in spec if name is not None} - known
      if unknown:
        raise ValueError(f"no sharding rule for the logical axes {sorted(unknown)}")
    shardings = spmd.logical_to_mesh_sharding(specs, self.mesh, RULES)
    return jax.tree.map(
      lambda box, sharding: jax.tree.map(lambda x: self._fit(sharding, x), nn.unbox(box)),
      boxed,
      shardings,
      is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata),
    )

  def _fit(self, sharding: NamedSharding, x: jax.ShapeDtypeStruct) -> NamedSharding:
    """Adapts a parameter's sharding to the optimizer state that belongs to it.

    Such a state may have another shape: Muon keeps none for some parameters, NovoGrad one number,
    Adafactor means over an axis or a single zero.
    """
    if x.ndim != len(sharding.spec):
      return self.replicated
    axes = (None if size == 1 else axis for size, axis in zip(x.shape, sharding.spec, strict=True))
    return NamedSharding(self.mesh, PartitionSpec(*axes))

  def place(self, share: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Returns global arrays, split by row, of each process's share of a batch.

    Args:
      share: the rows of this process, which are those of its `local_shards`.
    """

    def put(array: np.ndarray) -> jax.Array:
      rows = len(array) // len(self.local_shards)
      # First row of a shard in the global array -> in this process's share.
      local_start = {shard * rows: n * rows for n, shard in enumerate(self.local_shards)}

      def part(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None
        first = local_start[index[0].start or 0]
        return array[first : first + rows]

      shape = (rows * self.batch_shards, *array.shape[1:])
      return jax.make_array_from_callback(shape, self.by_row, part)

    return {name: put(array) for name, array in share.items()}

  def place_whole(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Returns global arrays, split by row, of a batch that every process has completely."""

    def local(array: np.ndarray) -> np.ndarray:
      return array.reshape(self.batch_shards, -1, *array.shape[1:])[self.local_shards].reshape(
        -1, *array.shape[1:]
      )

    return self.place({name: local(array) for name, array in batch.items()})

  def fetch(self, tree: Arrays) -> Arrays:
    """Returns arrays of the mesh as NumPy arrays; all processes must call it together."""
    return jax.device_get(tree if jax.process_count() == 1 else self._gather(tree))

  @functools.cached_property
  def _gather(self) -> Callable:
    return self.jit(lambda tree: tree, out_shardings=self.replicated)


class Program:
  """A jitted function that is traced and called in the context of its mesh.

  Attributes:
    jitted: the function as `jax.jit` returns it.
  """

  def __init__(self, parallel: Parallel, jitted: Any):
    self._parallel, self.jitted = parallel, jitted

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """Calls the function."""
    with self._parallel.context():
      return self.jitted(*args, **kwargs)


def filled(sizes: Mapping[str, int], count: int) -> dict[str, int]:
  """Returns the sizes of a mesh's axes for `count` devices, with the size -1 replaced.

  Raises:
    UserError: if their product is not `count`.
  """
  values = list(sizes.values())
  if values.count(-1) == 1:
    known = math.prod(size for size in values if size != -1)
    values[values.index(-1)] = count // max(known, 1)
  if math.prod(values) != count or min(values) < 1:
    asked = ", ".join(f"mesh.{axis}={size}" for axis, size in sizes.items())
    raise UserError(f"{asked}: the product must be {count}, for there are {count} devices")
  return dict(zip(sizes, values, strict=True))


def arrange(devices: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
  """Returns devices as an array whose first axis is the slice, the other axes lying within one.

  A slice is a group of devices connected by a fast network. On a TPU, and wherever devices have a
  `slice_index`, that is the slice. Otherwise, if there are as many processes as requested slices,
  each process is one; else neighbouring devices are grouped.

  Raises:
    UserError: if TPU devices have another number of slices.
  """
  count, *within = shape
  named = {getattr(device, "slice_index", 0) for device in devices}
  if devices[0].platform == "tpu" and len(named) != count:
    raise UserError(f"mesh.slices={count}, but the TPU has {len(named)} slices")
  if count == 1:
    return mesh_utils.create_device_mesh(shape, devices)
  by_process = len({device.process_index for device in devices}) == count
  if len(named) != count and not by_process:
    return np.array(devices).reshape(shape)
  return mesh_utils.create_hybrid_device_mesh(
    (1, *within),
    (count, *[1] * len(within)),
    devices,
    process_is_granule=len(named) != count,
  )

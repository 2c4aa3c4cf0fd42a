"""The mesh, and which of its axes shards which logical axis.

Parameters are sharded over `fsdp` along the model dimension and over `tensor` along heads,
feed-forward and vocabulary; batches over `slices`, `data` and `fsdp` together; activations of a row
over `sequence` along its length, where attention gathers keys and values.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tfx_jax.errors import UserError

# From the slowest network to the fastest.
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
  """A mesh of all devices and the rules that go with it.

  Args:
    data: devices over which only the batch is split; -1: all that are left by the others.
    fsdp: devices over which batch, parameters and optimizer state are split.
    tensor: devices over which heads, feed-forward and vocabulary are split.
    sequence: devices over which rows are split along their length.
    slices: groups of devices that a slower network joins; over it only the batch is split.

  Raises:
    UserError: if the sizes do not multiply to the number of devices, or the devices are not of so
      many slices.
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
    """How many parts a batch is split into."""
    return math.prod(self.sizes[axis] for axis in ROWS)

  @property
  def batch_parts(self) -> tuple[int, int]:
    """How many parts the rows of a batch are split into, and how many a row's length."""
    return self.batch_shards, self.sizes["sequence"]

  @functools.cached_property
  def own_shards(self) -> list[int]:
    """Which of the parts of a batch are on this process's devices.

    Processes that share a part, as where `tensor` goes over several of them, all have it.
    """
    by_part = self.mesh.devices.reshape(self.batch_shards, -1)
    own = jax.process_index()
    return [
      number for number, part in enumerate(by_part) if any(d.process_index == own for d in part)
    ]

  @contextlib.contextmanager
  def context(self) -> Iterator[None]:
    """Where logical constraints mean this mesh."""
    with jax.set_mesh(self.mesh), nn.logical_axis_rules(RULES):
      yield

  def jit(self, function: Callable, **options: Any) -> Callable:
    """`jax.jit` for this mesh and these rules; trace and call happen in `context`."""
    jitted = jax.jit(function, **options)

    def call(*args: Any, **kwargs: Any) -> Any:
      with self.context():
        return jitted(*args, **kwargs)

    call.jitted = jitted
    return call

  def split_rows(self, tree: Any) -> Any:
    """Of a program's arrays: keeps the first axis of each split by row, whatever the others are.

    What one call returns can then be given to the next without another program for it.
    """
    free = PartitionSpec.UNCONSTRAINED

    def split(x: jax.Array) -> jax.Array:
      spec = PartitionSpec(*self.by_row.spec, *[free] * (x.ndim - 1)) if x.ndim else PartitionSpec()
      return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, spec))

    return jax.tree.map(split, tree)

  def shardings(self, boxed: Any) -> Any:
    """The sharding of each leaf of a tree of abstract, boxed parameters or of a state of them.

    Its structure is that of the tree without the boxes.

    Raises ValueError for a logical name that no rule knows.
    """
    known = {name for name, _ in RULES}
    specs = nn.get_partition_spec(boxed)
    for spec in jax.tree.leaves(specs, is_leaf=lambda x: isinstance(x, PartitionSpec)):
      unknown = {name for name in spec if name is not None} - known
      if unknown:
        raise ValueError(f"no sharding rule for the logical axes {sorted(unknown)}")
    shardings = nn.logical_to_mesh_sharding(specs, self.mesh, RULES)
    return jax.tree.map(
      lambda box, sharding: jax.tree.map(lambda x: self._fit(sharding, x), nn.unbox(box)),
      boxed,
      shardings,
      is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata),
    )

  def _fit(self, sharding: NamedSharding, x: jax.ShapeDtypeStruct) -> NamedSharding:
    """The sharding of a parameter for what an optimizer keeps of it, which may be something else.

    Muon keeps nothing of some, NovoGrad a number, Adafactor means over an axis or one zero.
    """
    if x.ndim != len(sharding.spec):
      return self.replicated
    axes = (None if size == 1 else axis for size, axis in zip(x.shape, sharding.spec, strict=True))
    return NamedSharding(self.mesh, PartitionSpec(*axes))

  def place(self, share: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Global arrays, split by row, of this process's share of a batch: `own_shards` of its rows."""

    def put(array: np.ndarray) -> jax.Array:
      rows = len(array) // len(self.own_shards)
      found = {shard * rows: place * rows for place, shard in enumerate(self.own_shards)}

      def part(index: tuple[slice, ...]) -> np.ndarray:
        first = found[index[0].start or 0]
        return array[first : first + rows]

      shape = (rows * self.batch_shards, *array.shape[1:])
      return jax.make_array_from_callback(shape, self.by_row, part)

    return {name: put(array) for name, array in share.items()}

  def place_whole(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Global arrays, split by row, of a batch that every process has all of."""

    def own(array: np.ndarray) -> np.ndarray:
      return array.reshape(self.batch_shards, -1, *array.shape[1:])[self.own_shards].reshape(
        -1, *array.shape[1:]
      )

    return self.place({name: own(array) for name, array in batch.items()})

  def fetch(self, tree: Any) -> Any:
    """NumPy arrays of arrays on the mesh, wherever their parts are; all processes must ask."""
    return jax.device_get(tree if jax.process_count() == 1 else self._gather(tree))

  @functools.cached_property
  def _gather(self) -> Callable:
    return self.jit(lambda tree: tree, out_shardings=self.replicated)


def filled(sizes: Mapping[str, int], count: int) -> dict[str, int]:
  """Sizes of a mesh's axes for `count` devices, the one that is -1 filled in.

  Raises:
    UserError: if they do not multiply to it.
  """
  values = list(sizes.values())
  if values.count(-1) == 1:
    known = math.prod(size for size in values if size != -1)
    values[values.index(-1)] = count // max(known, 1)
  if math.prod(values) != count or min(values) < 1:
    asked = ", ".join(f"mesh.{axis}={size}" for axis, size in sizes.items())
    raise UserError(f"{asked}: the sizes must multiply to the {count} devices there are")
  return dict(zip(sizes, values, strict=True))


def arrange(devices: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
  """Devices as an array whose first axis goes over slices and whose others stay within one.

  A slice is what a fast network joins: of a TPU pod, else what calls itself one or, if there are as
  many of them as are asked for, a process. Where nothing says so, neighbours are one.

  Raises:
    UserError: if TPU devices are of another number of slices.
  """
  count, *within = shape
  named = {getattr(device, "slice_index", 0) for device in devices}
  if devices[0].platform == "tpu" and len(named) != count:
    raise UserError(f"mesh.slices={count}, but the TPU devices are of {len(named)} slices")
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

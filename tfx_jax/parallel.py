"""The mesh, and what is sharded over which of its axes; the only file that names devices.

Parameters are sharded over `fsdp` along the model dimension and over `tensor` along heads,
feed-forward and vocabulary; batches over `data` and `fsdp` together.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tfx_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")

RULES = (
  ("embed", "fsdp"),
  ("heads", "tensor"),
  ("mlp", "tensor"),
  ("vocab", "tensor"),
  ("layers", None),
  ("batch", ("data", "fsdp")),
  ("length", None),
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

  Raises:
    UserError: if the sizes do not multiply to the number of devices.
  """

  def __init__(self, data: int = -1, fsdp: int = 1, tensor: int = 1):
    sizes = [data, fsdp, tensor]
    count = jax.device_count()
    if sizes.count(-1) == 1:
      known = math.prod(size for size in sizes if size != -1)
      sizes[sizes.index(-1)] = count // max(known, 1)
    if math.prod(sizes) != count or min(sizes) < 1:
      asked = f"mesh.data={data}, mesh.fsdp={fsdp}, mesh.tensor={tensor}"
      raise UserError(f"{asked}: the sizes must multiply to the {count} devices there are")
    self.sizes = dict(zip(AXES, sizes, strict=True))
    self.mesh = jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    self.replicated = NamedSharding(self.mesh, PartitionSpec())
    self.by_row = NamedSharding(self.mesh, PartitionSpec(("data", "fsdp")))

  @property
  def batch_shards(self) -> int:
    """How many parts a batch is split into."""
    return self.sizes["data"] * self.sizes["fsdp"]

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

  def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Global arrays, split by row, of each process's share of a batch."""
    return {
      name: jax.make_array_from_process_local_data(self.by_row, array)
      for name, array in batch.items()
    }

"""Checksums of arrays, computed where the arrays are: the same however they are sharded."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# Odd constants of the golden ratio and of the finaliser of MurmurHash3 (Appleby 2011).
_GOLDEN, _FIRST, _SECOND = 0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35


def checksums(tree: Any) -> dict[str, str]:
  """For the path of each leaf, as in 'params/kernel', 64 bits as 16 hexadecimal digits.

  Each 32 bits of a leaf are mixed with their place in it, and all are added modulo 2^32, so that
  what is changed, moved or swapped changes the sum, and the order of adding does not. A single
  changed element is found with certainty, other changes but for about one in 2^64. All is integer
  arithmetic: the sharding and the number of processes make no difference. -0 and 0, and NaNs of
  different bits, are different.

  Args:
    tree: arrays, all on one mesh.
  """
  leaves = jax.tree.leaves(tree)
  meshes = {x.sharding.mesh for x in leaves if isinstance(x.sharding, NamedSharding)}
  sums = jax.device_get(_program(meshes.pop() if meshes else None)(leaves))
  return {path: f"{int(a):08x}{int(b):08x}" for path, (a, b) in zip(paths(tree), sums, strict=True)}


def paths(tree: Any) -> list[str]:
  """The names of the leaves of a tree, in their order."""
  found = jax.tree_util.tree_flatten_with_path(tree)[0]
  return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found]


@functools.cache
def _program(mesh: Mesh | None) -> Any:
  """Leaves -> their sums, on every device of the mesh: each process can read them."""
  everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
  return jax.jit(lambda leaves: [_checksum(x) for x in leaves], out_shardings=everywhere)


def _checksum(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  words = _words(x)
  mixed = _mix(words ^ _places(words.shape))
  again = _mix(mixed + jnp.uint32(_GOLDEN))
  return mixed.sum(dtype=jnp.uint32), again.sum(dtype=jnp.uint32)


def _words(x: jax.Array) -> jax.Array:
  """The bits as uint32; eight bytes are two words, along a new last axis."""
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  if x.dtype == jnp.bool_:
    return x.astype(jnp.uint32)
  if jnp.issubdtype(x.dtype, jnp.complexfloating):
    x = jnp.stack([x.real, x.imag], axis=-1)
  bits = jnp.dtype(f"uint{8 * min(x.dtype.itemsize, 4)}")
  return jax.lax.bitcast_convert_type(x, bits).astype(jnp.uint32)


def _places(shape: Sequence[int]) -> jax.Array:
  """A hash of each element's index along each axis; a flat index may be more than 32 bits."""
  place = jnp.full(shape, jnp.uint32(_GOLDEN))
  for axis in range(len(shape)):
    place = _mix(place + jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(_GOLDEN))
  return place


def _mix(x: jax.Array) -> jax.Array:
  """A bijection of 32 bits in which each bit depends on all (MurmurHash3's finaliser)."""
  x = (x ^ (x >> 16)) * jnp.uint32(_FIRST)
  x = (x ^ (x >> 13)) * jnp.uint32(_SECOND)
  return x ^ (x >> 16)

"""Checksums of arrays, computed on their devices; they do not depend on the sharding."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tfx_jax.models.model import Params

_Program = Callable[[list[jax.Array]], list[tuple[jax.Array, jax.Array]]]

# Odd constants: the golden ratio, and the two of MurmurHash3's finalizer (Appleby 2011).
_GOLDEN, _FIRST, _SECOND = 0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35


def checksums(tree: Params) -> dict[str, str]:
  """Returns 64 bits, as 16 hexadecimal digits, for the path of each leaf (like 'params/kernel').

  Each word of 32 bits is hashed together with its index in the array, and the hashes are added
  modulo 2^32. So a changed or moved word changes the sum, but the order of addition does not. A
  single changed element is always detected, other changes with a probability of about 1 - 2^-64.
  All arithmetic is on integers, so neither the sharding nor the number of processes matters. 0 and
  -0 differ, and so do NaNs of different bits.

  Args:
    tree: arrays, all on one mesh.
  """
  leaves = jax.tree.leaves(tree)
  meshes = {x.sharding.mesh for x in leaves if isinstance(x.sharding, NamedSharding)}
  sums = jax.device_get(_program(meshes.pop() if meshes else None)(leaves))
  return {path: f"{int(a):08x}{int(b):08x}" for path, (a, b) in zip(paths(tree), sums, strict=True)}


def paths(tree: Params) -> list[str]:
  """Returns the paths of a tree's leaves, in their order."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


@functools.cache
def _program(mesh: Mesh | None) -> _Program:
  """Compiled sums of a list of arrays, replicated, so that each process can read them."""
  replicated = None if mesh is None else NamedSharding(mesh, PartitionSpec())
  return jax.jit(lambda leaves: [_checksum(x) for x in leaves], out_shardings=replicated)


@jax.jit  # traced once for each shape, of which a model has few
def _checksum(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  words = _words(x)
  mixed = _mix(words ^ _hash_of_index(words.shape))
  again = _mix(mixed + jnp.uint32(_GOLDEN))
  return mixed.sum(dtype=jnp.uint32), again.sum(dtype=jnp.uint32)


def _words(x: jax.Array) -> jax.Array:
  """Returns the bits as uint32; an element of 8 bytes becomes two words on a new last axis."""
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  if x.dtype == jnp.bool_:
    return x.astype(jnp.uint32)
  if jnp.issubdtype(x.dtype, jnp.complexfloating):
    x = jnp.stack([x.real, x.imag], axis=-1)
  bits = jnp.dtype(f"uint{8 * min(x.dtype.itemsize, 4)}")
  return jax.lax.bitcast_convert_type(x, bits).astype(jnp.uint32)


def _hash_of_index(shape: Sequence[int]) -> jax.Array:
  """Returns a hash of each element's index, axis by axis: a flat index may exceed 32 bits."""
  hashed = jnp.full(shape, jnp.uint32(_GOLDEN))
  for axis in range(len(shape)):
    index = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    hashed = _mix(hashed + index * jnp.uint32(_GOLDEN))
  return hashed


def _mix(x: jax.Array) -> jax.Array:
  """Bijection of 32 bits in which each bit depends on all (MurmurHash3's finalizer)."""
  x = (x ^ (x >> 16)) * jnp.uint32(_FIRST)
  x = (x ^ (x >> 13)) * jnp.uint32(_SECOND)
  return x ^ (x >> 16)

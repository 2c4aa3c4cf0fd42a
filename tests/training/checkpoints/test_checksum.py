"""Checksums: the same under any sharding, another for whatever is changed, moved or swapped."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tfx_jax.parallel import Parallel
from tfx_jax.training.checkpoints.checksum import checksums

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(8, 16)).astype(np.float32)


def reference(array):
  """The definition, with Python's integers, an element at a time."""

  def mix(x):
    x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
    return x ^ (x >> 16)

  array = np.array(array, order="C")
  if array.dtype == bool:
    array = array.astype(np.uint32)
  unit = min(array.itemsize, 4)
  words = array.view(f"<u{unit}").reshape((*array.shape, *[-1] * (array.itemsize > 4)))
  a = b = 0
  for index in np.ndindex(words.shape):
    place = 0x9E3779B9
    for i in index:
      place = mix((place + i * 0x9E3779B9) % 2**32)
    mixed = mix(int(words[index]) ^ place)
    a, b = (a + mixed) % 2**32, (b + mix((mixed + 0x9E3779B9) % 2**32)) % 2**32
  return f"{a:08x}{b:08x}"


@pytest.mark.parametrize(
  "array",
  [
    MATRIX,
    np.float32(1.5),
    np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45], np.float32),
    np.arange(-3, 5, dtype=np.int32).reshape(2, 2, 2),
    RNG.normal(size=(3, 5)).astype(ml_dtypes.bfloat16),
    np.array([3, 255, 0], np.uint8),
    np.array([True, False, True]),
    np.zeros((0, 4), np.float32),
  ],
  ids=lambda x: f"{x.dtype}{list(x.shape)}",
)
def test_against_the_definition(array):
  assert checksums({"a": jnp.asarray(array)}) == {"a": reference(array)}


def test_eight_bytes_are_two_words():
  with jax.enable_x64(True):
    array = RNG.normal(size=(2, 3))
    assert checksums([jnp.asarray(array)]) == {"0": reference(array)}


def test_the_sharding_makes_no_difference():
  expected = checksums({"w": jnp.asarray(MATRIX)})
  for sizes in ({}, {"fsdp": 8}, {"data": 2, "fsdp": 2, "tensor": 2}):
    mesh = Parallel(**sizes).mesh
    for spec in ((), ("fsdp",), ("fsdp", "tensor"), (None, ("data", "fsdp"))):
      placed = jax.device_put(MATRIX, NamedSharding(mesh, PartitionSpec(*spec)))
      assert checksums({"w": placed}) == expected


def test_every_flipped_bit_and_every_move_changes_the_checksum():
  def of(array):
    return checksums({"w": jnp.asarray(array)})["w"]

  found = {of(MATRIX)}
  changed = 0
  for place in RNG.choice(MATRIX.size, 4, replace=False):
    for bit in range(32):
      flipped = MATRIX.copy()
      flipped.view(np.uint32).reshape(-1)[place] ^= np.uint32(1 << bit)
      found.add(of(flipped))
      changed += 1
  swapped, rolled = MATRIX.copy(), np.roll(MATRIX, 1, axis=0)
  swapped[0, [0, 1]] = swapped[0, [1, 0]]
  for other in (swapped, rolled, MATRIX[::-1], MATRIX.T.reshape(8, 16), -MATRIX):
    found.add(of(other))
    changed += 1
  assert len(found) == 1 + changed


def test_leaves_are_named_by_their_path():
  tree = {"params": {"kernel": jnp.ones(2)}, "opt": (jnp.ones(2), None, [jnp.zeros(2)])}
  found = checksums(tree)
  assert list(found) == ["opt/0", "opt/2/0", "params/kernel"]
  assert found["opt/0"] == found["params/kernel"] != found["opt/2/0"]

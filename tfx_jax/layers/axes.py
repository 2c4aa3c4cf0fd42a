"""The letters of array shapes, and the logical names of axes.

Letters in docstrings and comments; comments that spell a product as an einsum use them in lower
case ("btd,dv->btv")::

  B rows of a batch        T target (query) positions   S source (key) positions
  D model dimension        N query heads                K key/value heads
  G query heads of each key/value head, N/K             H dimension of a head
  F feed-forward dimension V vocabulary, padded         L layers of a stack
  W beams or samples of a row                           P prompt positions
  C channels of a frame    I, O inputs and outputs of a linear map

Parameters are named by EMBED, HEADS, MLP, VOCAB and LAYERS; activations by BATCH, LENGTH,
KEY_LENGTH and the names that begin with `act_`. `parallel.py` decides which mesh axis shards which
name.
"""

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import spmd

EMBED, HEADS, MLP, VOCAB, LAYERS = "embed", "heads", "mlp", "vocab", "layers"
# Key/value length: every device holds all of it.
BATCH, LENGTH, KEY_LENGTH = "batch", "length", "key_length"
ACT_EMBED, ACT_HEADS, ACT_MLP, ACT_VOCAB = "act_embed", "act_heads", "act_mlp", "act_vocab"


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
  """Constrains the sharding of `x` by its axes' logical `names`; outside a mesh, does nothing.

  Raises:
    ValueError: for a name that the rules do not know.
  """
  return spmd.with_logical_constraint(x, names, fallback=spmd.RulesFallback.RAISE_ERROR)


def is_sharded(name: str) -> bool:
  """Returns whether the mesh of the traced program splits axes of the logical `name`."""
  (mesh_axes,) = spmd.logical_to_mesh_axes((name,)) or (None,)
  sizes = jax.sharding.get_abstract_mesh().shape
  mesh_axes = mesh_axes if isinstance(mesh_axes, tuple) else (mesh_axes,)
  return any(sizes.get(axis, 1) > 1 for axis in mesh_axes)


def param(
  module: nn.Module,
  name: str,
  init: Callable[..., jax.Array],
  shape: Sequence[int],
  names: Sequence[str | None],
) -> jax.Array:
  """Declares a float32 parameter of `module` whose axes carry the logical `names`."""
  # rules=() keeps Flax from constraining the value again each time it is unboxed.
  boxed = nn.with_logical_partitioning(init, tuple(names), rules=())
  return cast(jax.Array, module.param(name, boxed, tuple(shape), jnp.float32))

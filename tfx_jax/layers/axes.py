"""The letters of array shapes and the logical names of their axes.

Shapes in docstrings and comments:
  B rows of a batch        T target (query) positions   S source (key) positions
  D model dimension        N query heads                K key/value heads
  H dimension of a head    F feed-forward dimension     V vocabulary (padded)
  L layers of a stack      W beams or samples of a row

Parameters are named by EMBED, HEADS, MLP, VOCAB and LAYERS; activations by BATCH, LENGTH,
KEY_LENGTH and the names that begin with `act_`. Which mesh axis shards which name is decided in
`parallel.py`.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.spmd import RulesFallback

EMBED, HEADS, MLP, VOCAB, LAYERS = "embed", "heads", "mlp", "vocab", "layers"
# Of what attention reads, which it needs all of.
BATCH, LENGTH, KEY_LENGTH = "batch", "length", "key_length"
ACT_EMBED, ACT_HEADS, ACT_MLP, ACT_VOCAB = "act_embed", "act_heads", "act_mlp", "act_vocab"


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
  """Pins `x` to the sharding of its axes' logical `names`; outside a mesh it does nothing.

  Raises ValueError for a name that the rules do not know.
  """
  return nn.with_logical_constraint(x, names, fallback=RulesFallback.RAISE_ERROR)


def is_split(name: str) -> bool:
  """Whether the mesh that the caller is traced for splits axes of the logical `name`."""
  (where,) = nn.logical_to_mesh_axes((name,))
  sizes = jax.sharding.get_abstract_mesh().shape
  where = where if isinstance(where, tuple) else (where,)
  return any(sizes.get(axis, 1) > 1 for axis in where)


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
  return module.param(name, boxed, tuple(shape), jnp.float32)

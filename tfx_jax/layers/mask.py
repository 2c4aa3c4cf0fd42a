"""Attention masks, symbolic until attention lowers them to booleans [B,T,S]."""

import jax
import jax.numpy as jnp
from flax import struct


class Mask(struct.PyTreeNode):
  """Lets a query see the keys of its segment; if causal, only those up to its place in the row.

  Segments number the sequences packed into a row from 1; 0 is padding. In a row of one sequence
  they are ones, and zeros for its padding.

  Attributes:
    query_segments: int32 [B,T].
    key_segments: int32 [B,S].
    causal: whether keys after the query are hidden; needs T = S.
  """

  query_segments: jax.Array
  key_segments: jax.Array
  causal: bool = struct.field(pytree_node=False, default=False)


def lower(mask: Mask | jax.Array) -> jax.Array:
  """Returns the mask as bool [B,T,S], true where the key may be seen; dense masks as they are."""
  if not isinstance(mask, Mask):
    return mask
  query, key = mask.query_segments[:, :, None], mask.key_segments[:, None, :]  # [B,T,1], [B,1,S]
  visible = (query == key) & (key > 0)
  if mask.causal:
    shape = visible.shape
    row, column = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (1, 2))
    visible &= row >= column
  return visible

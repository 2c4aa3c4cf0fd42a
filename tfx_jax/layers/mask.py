"""Which query may see which key: symbolic until attention lowers it."""

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Mask:
  """A query sees the keys of its own segment, and if causal none that come later in the row.

  Segments number the sequences packed into a row from 1; 0 is padding. A row that holds one
  sequence is the special case of ones and zeros.

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
  query, key = mask.query_segments[:, :, None], mask.key_segments[:, None, :]
  seen = (query == key) & (key > 0)
  if mask.causal:
    shape = seen.shape
    row, column = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (1, 2))
    seen &= row >= column
  return seen

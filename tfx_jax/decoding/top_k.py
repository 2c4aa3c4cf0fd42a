"""The greatest of many, without sorting or even searching all of them."""

import jax
import jax.numpy as jnp

BLOCK = 64


def top_k(x: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """`jax.lax.top_k` of x [B,M]: the same values and places, of equal ones the first.

  The `count` greatest are in the `count` blocks whose maxima are greatest: any other block has as
  many maxima before its own. So there is one pass that makes maxima, and little is searched.

  Args:
    x: [B,M], no NaN.
    count: how many.

  Returns:
    values, greatest first, and places int32, [B,count].
  """
  rows, size = x.shape
  if size <= 4 * count * BLOCK:
    return jax.lax.top_k(x, count)
  blocks = jnp.pad(x, ((0, 0), (0, -size % BLOCK)), constant_values=-jnp.inf)
  blocks = blocks.reshape(rows, -1, BLOCK)
  # In the order of their places, so that of equal values the first is found first.
  chosen = jnp.sort(jax.lax.top_k(blocks.max(axis=2), count)[1], axis=1)
  candidates = jnp.take_along_axis(blocks, chosen[..., None], axis=1).reshape(rows, -1)
  values, place = jax.lax.top_k(candidates, count)
  return values, jnp.take_along_axis(chosen, place // BLOCK, axis=1) * BLOCK + place % BLOCK

"""Optimizer state in half the memory, for any optimizer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class RoundedState(NamedTuple):
  """The state of an optimizer whose arrays are kept in bfloat16, and the number of updates."""

  count: jax.Array
  inner: Any


def in_bfloat16(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
  """The optimizer, computing in float32 as ever, with the arrays of its state in bfloat16.

  What is kept is rounded up or down at random, as likely as it is near, so that its mean is right:
  to the nearest, a moving average that changes by less than a half of the last of 8 bits would
  stand still for ever (Gupta et al. 2015, arXiv:1502.02551, section 3.1). Numbers that are no
  arrays, such as counts, stay as they are.
  """

  def init(params: Any) -> RoundedState:
    state = optimizer.init(params)
    kept = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if _is_kept(x) else x, state)
    return RoundedState(jnp.zeros((), jnp.int32), kept)

  def update(updates: Any, state: RoundedState, params: Any = None) -> tuple[Any, RoundedState]:
    wide = jax.tree.map(
      lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, state.inner
    )
    updates, inner = optimizer.update(updates, wide, params)
    leaves, tree = jax.tree.flatten(inner)
    key = jax.random.fold_in(jax.random.key(0), state.count)
    kept = [
      stochastic_round(x, jax.random.fold_in(key, number)) if _is_kept(x) else x
      for number, x in enumerate(leaves)
    ]
    return updates, RoundedState(state.count + 1, jax.tree.unflatten(tree, kept))

  return optax.GradientTransformation(init, update)


def stochastic_round(x: jax.Array, key: jax.Array) -> jax.Array:
  """float32 -> one of the two neighbours in bfloat16, whose mean over all keys is `x`."""
  bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
  bits += jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
  cut = jax.lax.bitcast_convert_type(bits & jnp.uint32(0xFFFF0000), jnp.float32)
  return jnp.where(jnp.isfinite(x), cut, x).astype(jnp.bfloat16)


def _is_kept(x: jax.Array) -> bool:
  return x.ndim > 0 and x.dtype == jnp.float32

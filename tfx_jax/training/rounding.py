"""Optimizer state in bfloat16, half the memory, for any optimizer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tfx_jax.common.tree import Tree


class RoundedState(NamedTuple):
  """State of an optimizer with its arrays in bfloat16, and the number of updates so far."""

  count: jax.Array
  inner: Tree


def in_bfloat16(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
  """Returns an optimizer that computes in float32 and stores the arrays of its state in bfloat16.

  Rounding is stochastic, so that its mean is exact. With rounding to nearest, a moving average that
  changes by less than half of its last bit would never change (Gupta et al. 2015,
  arXiv:1502.02551, section 3.1). Scalars, such as counts, are stored unchanged.
  """

  def init(params: Tree) -> RoundedState:
    state = optimizer.init(params)
    rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if _is_rounded(x) else x, state)
    return RoundedState(jnp.zeros((), jnp.int32), rounded)

  def update(updates: Tree, state: Tree, params: Tree = None) -> tuple[Tree, RoundedState]:
    wide = jax.tree.map(
      lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, state.inner
    )
    updates, inner = optimizer.update(updates, wide, params)
    leaves, tree = jax.tree.flatten(inner)
    key = jax.random.fold_in(jax.random.key(0), state.count)
    rounded = [
      stochastic_round(x, jax.random.fold_in(key, number)) if _is_rounded(x) else x
      for number, x in enumerate(leaves)
    ]
    return updates, RoundedState(state.count + 1, jax.tree.unflatten(tree, rounded))

  return optax.GradientTransformation(init, update)


def stochastic_round(x: jax.Array, key: jax.Array) -> jax.Array:
  """Rounds float32 to one of its two bfloat16 neighbours; the mean over all keys is `x`."""
  bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
  bits += jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
  low = jax.lax.bitcast_convert_type(bits & jnp.uint32(0xFFFF0000), jnp.float32)
  return jnp.where(jnp.isfinite(x), low, x).astype(jnp.bfloat16)


def _is_rounded(x: jax.Array) -> bool:
  return x.ndim > 0 and x.dtype == jnp.float32

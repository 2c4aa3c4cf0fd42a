"""The loop of every search: a step of the model, then a token more for each hypothesis."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

# Where no token has been written.
NO_TOKEN = -1

# step(tokens [B,W], parents [B,W], cache) -> logits [B,W,V], cache.
Step = Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, Any]]


class State(Protocol):
  """Where a search stands.

  Attributes:
    length: int32 scalar, tokens so far.
    room: T, most tokens.
    last_tokens: the newest token of each hypothesis, int32 [B,W].
    parents: int32 [B,W], the hypothesis of the step before that each one continues.
    finished: bool [B].
  """

  length: jax.Array
  room: int
  last_tokens: jax.Array
  parents: jax.Array
  finished: jax.Array


def go_on(
  expand: Callable[[Any, jax.Array, Any], Any],
  step: Step,
  state: State,
  cache: Any,
  steps: jax.Array,
) -> tuple[Any, Any]:
  """Expands `state` by at most `steps` tokens, or until every row is finished.

  Args:
    expand: from the state, the logits [B,W,V] and the cache after a step to the next state.
    step: of the model.
    state: so far.
    cache: the model's.
    steps: int32 scalar.

  Returns:
    The state and the cache after them.
  """
  limit = jnp.minimum(state.length + steps, state.room)

  def unfinished(carry: tuple[State, Any]) -> jax.Array:
    return (carry[0].length < limit) & ~carry[0].finished.all()

  def body(carry: tuple[State, Any]) -> tuple[State, Any]:
    state, cache = carry
    logits, cache = step(state.last_tokens, state.parents, cache)
    return expand(state, logits, cache), cache

  return jax.lax.while_loop(unfinished, body, (state, cache))

"""The loop of every search: a step of the model, then one more element for each hypothesis."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp

from tfx_jax.common.tree import Tree

# Fills the places of a sequence that hold no token.
NO_TOKEN = -1

# The model's state, any tree of arrays. Searches only hand it from one step to the next.
Cache = Tree
# Logits [B,W,V]; for frames, the frames [B,W,C] and their stop logits [B,W].
Output = Tree
# step(elements [B,W] or [B,W,C], parents [B,W], cache) -> output, cache.
Step = Callable[[jax.Array, jax.Array, Cache], tuple[Output, Cache]]


class State(Protocol):
  """Progress of a search: all that the loop needs to know of it."""

  @property
  def length(self) -> jax.Array:
    """Elements so far, int32 scalar."""
    ...

  @property
  def capacity(self) -> int:
    """Most elements of an output, T."""
    ...

  @property
  def last_elements(self) -> jax.Array:
    """Newest element of each hypothesis: token ids int32 [B,W], or frames [B,W,C]."""
    ...

  @property
  def parents(self) -> jax.Array:
    """Hypothesis of the previous step that each one continues, int32 [B,W]."""
    ...

  @property
  def finished(self) -> jax.Array:
    """Rows to which no element is added any more, bool [B]."""
    ...


StateT = TypeVar("StateT", bound=State)


def run_steps(
  expand: Callable[[StateT, Output, Cache], StateT],
  step: Step,
  state: StateT,
  cache: Cache,
  steps: jax.Array | int,
) -> tuple[StateT, Cache]:
  """Takes `steps` steps, fewer if all rows finish or the capacity is reached before.

  Args:
    expand: makes the next state from the state, and the output and the cache of the model's step.
    step: one step of the model.
    state: progress so far.
    cache: the model's.
    steps: int32 scalar.

  Returns:
    The state and the cache after these steps.
  """
  limit = jnp.minimum(state.length + steps, state.capacity)

  # A while loop, as the number of steps is known only when the rows finish.
  def unfinished(carry: tuple[StateT, Cache]) -> jax.Array:
    return (carry[0].length < limit) & ~carry[0].finished.all()

  def body(carry: tuple[StateT, Cache]) -> tuple[StateT, Cache]:
    state, cache = carry
    output, cache = step(state.last_elements, state.parents, cache)
    return expand(state, output, cache), cache

  return jax.lax.while_loop(unfinished, body, (state, cache))

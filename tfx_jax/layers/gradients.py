"""Hand-written gradients, and the choice not to use them.

JAX's `custom_vjp` rules out forward mode (`jax.jvp`, `jax.linearize`, `jax.jacfwd`), also within
`jax.grad`. So every function that has one takes `plain_gradients`; true leaves its derivatives to
JAX.
"""

from collections.abc import Callable

import jax

from tfx_jax.common.tree import Tree


def with_written_gradient(
  function: Callable, forward: Callable, backward: Callable, num_static: int = 0
) -> Callable:
  """Returns `function` with one more keyword, `plain_gradients`, which selects its gradient.

  Args:
    function: the plain definition, which JAX can differentiate.
    forward: as `jax.custom_vjp` takes it: arguments -> (result, residuals).
    backward: likewise: (static arguments, residuals, cotangents) -> cotangents of the others.
    num_static: number of leading arguments that are Python values without a gradient.
  """
  written = jax.custom_vjp(function, nondiff_argnums=tuple(range(num_static)))
  written.defvjp(forward, backward)

  def chosen(*args: Tree, plain_gradients: bool = False) -> Tree:
    return (function if plain_gradients else written)(*args)

  return chosen

"""Several batches in progress at a time, and programs that their threads may share."""

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax

from tfx_jax.parallel import Parallel

Item = TypeVar("Item")
Result = TypeVar("Result")

# With two, one of two cores idles while the texts of a batch are tokenized.
_BATCHES = 3
_COMPILING = threading.Lock()


def in_flight(
  start: Callable[[Item], Result], items: Iterable[Item], threads: bool
) -> Iterator[tuple[Item, Result]]:
  """Yields each item with `start(item)`, in order, while the next ones are already in progress.

  Args:
    start: computes arrays from an item.
    items: read one by one.
    threads: whether each item in progress has a thread. JAX executes what one thread asks for in
      order, and a decode step is too small for all cores of a CPU. With several devices this must
      be false: they must all be asked for the same programs in the same order.
  """
  if not threads:
    waiting = collections.deque()
    for item in items:
      waiting.append((item, start(item)))
      if len(waiting) > 1:
        yield waiting.popleft()
    yield from waiting
    return

  def finish(item: Item) -> Result:
    return jax.block_until_ready(start(item))

  pool, futures = concurrent.futures.ThreadPoolExecutor(_BATCHES), collections.deque()
  try:
    for item in items:
      futures.append((item, pool.submit(finish, item)))
      if len(futures) > _BATCHES:
        item, future = futures.popleft()
        yield item, future.result()
    for item, future in futures:
      yield item, future.result()
  finally:
    pool.shutdown(cancel_futures=True)


class Program:
  """A jitted function that threads may call at the same time; only one of them compiles at a time.

  Compiling in several threads is the likely cause of a crash that was seen once in jaxlib 0.10.2.

  Args:
    function: called with arguments by name; `params` must always have the same shapes.
    parallel: the mesh.
    **options: options of `jax.jit`.

  Attributes:
    jitted: the result of `jax.jit`.
  """

  def __init__(self, function: Callable, parallel: Parallel, **options: Any):
    self._parallel = parallel
    self.jitted = jax.jit(function, **options)
    self._compiled = set()

  def __call__(self, **arguments: Any) -> Any:
    """Calls the function; the first call with new shapes compiles it."""
    with self._parallel.context():
      shapes = _shapes(arguments)
      if shapes not in self._compiled:
        with _COMPILING:
          if shapes not in self._compiled:
            results = self.jitted(**arguments)
            self._compiled.add(shapes)
            return results
      return self.jitted(**arguments)


def _shapes(arguments: dict[str, Any]) -> tuple:
  """Returns all that decides whether a call compiles: structures, shapes and static arguments."""
  varying = {name: value for name, value in arguments.items() if name != "params"}
  leaves, structure = jax.tree.flatten(varying)
  return structure, *((x.shape, x.dtype) if hasattr(x, "shape") else x for x in leaves)

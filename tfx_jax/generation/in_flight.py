"""A few batches under way at a time."""

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

# With two of them a core of two waits while the texts of a batch go in or out.
_AT_ONCE = 3
_COMPILING = threading.Lock()


def in_flight(
  start: Callable[[Any], Any], items: Iterable[Any], threads: bool
) -> Iterator[tuple[Any, Any]]:
  """Each item with what `start` returns for it, in their order; the next one is under way by then.

  Args:
    start: from an item to arrays that are being computed.
    items: taken one by one.
    threads: whether items are computed side by side. JAX computes what a thread asks for one after
      the other, and a step of decoding is too small for all cores of a CPU; so each has a thread.
      Several devices must not: all of them have to be asked for the same things in the same order.
  """
  if not threads:
    yield from _delayed(((item, start(item)) for item in items), 1)
    return

  def finish(item: Any) -> Any:
    return jax.block_until_ready(start(item))

  pool = concurrent.futures.ThreadPoolExecutor(_AT_ONCE)
  try:
    for item, future in _delayed(((item, pool.submit(finish, item)) for item in items), _AT_ONCE):
      yield item, future.result()
  finally:
    pool.shutdown(cancel_futures=True)


def compiled_by_one(program: Callable) -> Callable:
  """A program that threads may call side by side; only one of all of them compiles at a time.

  Several that do are the likely cause of a crash that was seen once in jaxlib 0.10.2.

  Args:
    program: of `Parallel.jit`; its arguments are given by name, and `params` always have the same
      shapes.
  """
  compiled = set()

  def call(**arguments: Any) -> Any:
    varying = {name: x for name, x in arguments.items() if name != "params"}
    leaves, structure = jax.tree.flatten(varying)
    kinds = tuple((x.shape, x.dtype) if hasattr(x, "shape") else x for x in leaves)
    if (structure, kinds) not in compiled:
      with _COMPILING:
        if (structure, kinds) not in compiled:
          found = program(**arguments)
          compiled.add((structure, kinds))
          return found
    return program(**arguments)

  call.jitted = program.jitted
  return call


def _delayed(items: Iterable[Any], count: int) -> Iterator[Any]:
  """The items, each given when `count` more have been taken."""
  taken = collections.deque()
  for item in items:
    taken.append(item)
    if len(taken) > count:
      yield taken.popleft()
  yield from taken

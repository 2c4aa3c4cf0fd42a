import concurrent.futures
import threading
import time

import jax
import numpy as np
import pytest

from tfx_jax.generation.in_flight import Program, in_flight
from tfx_jax.parallel import Parallel


def test_two_are_computed_side_by_side_and_come_in_order():
  both = threading.Barrier(2, timeout=30)

  def start(item):
    both.wait()  # for another one that is computed at the same time
    return 10 * item

  assert list(in_flight(start, range(6), threads=True)) == [(i, 10 * i) for i in range(6)]


@pytest.mark.parametrize(("threads", "ahead"), [(False, 1), (True, 3)])
def test_few_are_started_ahead(threads, ahead):
  started = []

  def start(item):
    started.append(item)
    return item

  for item, _ in in_flight(start, range(9), threads=threads):
    assert max(started) <= item + ahead
  assert sorted(started) == list(range(9))


def test_without_threads_each_is_started_in_order_before_the_last_is_given():
  started = []
  for item, _ in in_flight(started.append, range(4), threads=False):
    assert started == list(range(min(item + 2, 4)))


@pytest.mark.parametrize("threads", [False, True])
def test_what_goes_wrong_is_raised_and_ends_it(threads):
  started = []

  def start(item):
    started.append(item)
    if item == 1:
      raise ValueError("one")
    return item

  with pytest.raises(ValueError, match="one"):
    list(in_flight(start, range(100), threads=threads))
  assert len(started) < 10


def test_one_compiles_at_a_time_and_compiled_programs_run_side_by_side(monkeypatch):
  inside, most, both = 0, 0, None

  def function(params, x, length):
    nonlocal inside, most
    inside += 1
    most = max(most, inside)
    time.sleep(0.02)
    inside -= 1
    if both is not None:
      both.wait()  # for another one that runs at the same time
    return x.sum() + length

  # As if every call compiled.
  monkeypatch.setattr(jax, "jit", lambda function, **options: function)
  first, second = (Program(function, Parallel()) for _ in range(2))
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    new = [
      pool.submit(call, params=None, x=np.ones(size), length=length)
      for call in (first, second)
      for size in (1, 2)
      for length in (1, 2)
    ]
    assert sorted(future.result() for future in new) == [2, 2, 3, 3, 3, 3, 4, 4]
    assert most == 1
    both = threading.Barrier(2, timeout=30)
    known = [pool.submit(first, params=object(), x=np.zeros(size), length=1) for size in (1, 2)]
    assert [future.result() for future in known] == [1, 1]

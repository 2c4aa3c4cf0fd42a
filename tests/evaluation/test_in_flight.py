import threading

import pytest

from tfx_jax.evaluation.in_flight import in_flight


def test_two_are_computed_side_by_side_and_come_in_order():
  both = threading.Barrier(2, timeout=30)

  def start(item):
    both.wait()  # for another one that is computed at the same time
    return 10 * item

  assert list(in_flight(start, range(6), threads=True)) == [(i, 10 * i) for i in range(6)]


@pytest.mark.parametrize("threads", [False, True])
def test_few_are_started_ahead(threads):
  started = []

  def start(item):
    started.append(item)
    return item

  for item, _ in in_flight(start, range(9), threads=threads):
    assert max(started) <= item + 2
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

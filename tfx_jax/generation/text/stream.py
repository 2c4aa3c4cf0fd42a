"""Searches that the host looks at while they run: stop strings and streams."""

from collections.abc import Collection, Iterator

import numpy as np

from tfx_jax.generation.request import Request
from tfx_jax.generation.search import Search
from tfx_jax.generation.text.stop import settled

# Tokens generated between two checks for stop strings.
STOP_EVERY = 16


def advance_to_stops(search: Search, request: Request, members: Collection[int]) -> None:
  """Advances a search until every sample has its EOS or a stop string.

  Args:
    search: a search for samples, just started.
    request: its request.
    members: number of each row's input; further rows only fill up the batch.
  """
  while True:
    samples = search.samples()
    keep = np.full((len(samples), len(samples[0])), search.capacity, np.int32)
    for row, member in enumerate(members):
      for column, ids in enumerate(samples[row]):
        if stop := request.find_stop(member, ids):
          keep[row, column] = stop.keep
    search.cut(keep)
    if search.finished:
      return
    search.advance(STOP_EVERY)


def follow(search: Search, request: Request) -> Iterator[str]:
  """Yields the text of the first input's first sample in chunks.

  Text that may still change, or may be the beginning of a stop string, is held back.

  Args:
    search: a search for samples, just started.
    request: its request.
  """
  shown = 0
  while True:
    ids = search.samples()[0][0]
    stop = request.find_stop(0, ids)
    text = request.decode(0, [ids])[0] if stop is None else stop.text
    ended = stop is not None or search.finished
    known = len(text) if ended else settled(text, request.settings.stop)
    if known > shown:
      yield text[shown:known]
      shown = known
    if ended:
      return
    search.advance(1)

"""Outputs that are looked at while they are written."""

from collections.abc import Iterator, Sequence

import numpy as np

from tfx_jax.generation.request import Request
from tfx_jax.generation.search import Search
from tfx_jax.generation.text.stop import settled

# Tokens between two looks for what stops an output.
STOP_EVERY = 16


def go_on_to_stops(search: Search, request: Request, members: Sequence[int]) -> None:
  """Goes on until every sample has its EOS or was stopped.

  Args:
    search: of samples, just begun.
    request: that it answers.
    members: the number of each row's input; rows beyond them only fill up the batch.
  """
  while True:
    samples = search.samples()
    kept = np.full((len(samples), len(samples[0])), search.room, np.int32)
    for row, member in enumerate(members):
      for column, ids in enumerate(samples[row]):
        if stop := request.find_stop(member, ids):
          kept[row, column] = stop.kept
    search.cut(kept)
    if search.finished:
      return
    search.advance(STOP_EVERY)


def follow(search: Search, request: Request) -> Iterator[str]:
  """The first sample's text of the first input, piece by piece.

  What may still change, or turn out to be the beginning of a stop, is held back.

  Args:
    search: of samples, just begun.
    request: that it answers.
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

"""Stop strings: texts that end an output before its EOS."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple


class Stop(NamedTuple):
  """The end of an output that a stop string ends.

  Attributes:
    keep: number of its tokens, the last of which completes the stop string.
    text: text before the stop string.
  """

  keep: int
  text: str


def find_stop(
  decode: Callable[[Sequence[Sequence[int]]], list[str]],
  ids: Sequence[int],
  stops: Collection[str],
  prefix_length: int = 0,
) -> Stop | None:
  """Returns where the first stop string ends an output; None if none does.

  The output ends with the first token that completes a stop string. If this token completes
  several, the one that begins first counts.

  Args:
    decode: decodes token lists of outputs to texts.
    ids: the output's tokens so far.
    stops: stop strings.
    prefix_length: number of tokens that were forced; a stop string inside of them does not count.
  """
  prefix, whole = decode([ids[:prefix_length], ids])

  def position(text: str) -> int | None:
    positions = (text.find(stop, max(0, len(prefix) - len(stop) + 1)) for stop in stops)
    return min((p for p in positions if p >= 0), default=None)

  if position(whole) is None:
    return None
  counts = range(prefix_length + 1, len(ids) + 1)
  for count, text in zip(counts, decode([ids[:n] for n in counts]), strict=True):
    if (end := position(text)) is not None:
      return Stop(count, text[:end])
  return None


def settled(text: str, stops: Collection[str]) -> int:
  """Returns the number of characters of an unfinished text that cannot change any more.

  Its end may be part of a character, which decodes as U+FFFD, or the beginning of a stop string.
  """
  text = text.rstrip("\N{REPLACEMENT CHARACTER}")
  started = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
  return len(text) - max(started, default=0)

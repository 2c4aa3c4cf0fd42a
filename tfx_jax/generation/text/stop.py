"""Where outputs end before their EOS: at the first of some texts."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple


class Stop(NamedTuple):
  """Where an output ends.

  Attributes:
    kept: its tokens, the last of which completes the text that stops it.
    text: what stands before that text.
  """

  kept: int
  text: str


def find_stop(
  decode: Callable[[Sequence[Sequence[int]]], list[str]],
  ids: Sequence[int],
  stops: Collection[str],
  prefix_length: int = 0,
) -> Stop | None:
  """Where the first of the texts `stops` ends an output, if one does.

  The output ends with the first token that completes one of them. Of several that this token
  completes, the one that begins first counts.

  Args:
    decode: from token lists of outputs to their texts.
    ids: the output's tokens so far.
    stops: texts.
    prefix_length: so many of the tokens were given; what they hold does not stop.
  """
  given, whole = decode([ids[:prefix_length], ids])

  def place(text: str) -> int | None:
    places = (text.find(stop, max(0, len(given) - len(stop) + 1)) for stop in stops)
    return min((place for place in places if place >= 0), default=None)

  if place(whole) is None:
    return None
  counts = range(prefix_length + 1, len(ids) + 1)
  for count, text in zip(counts, decode([ids[:n] for n in counts]), strict=True):
    if (found := place(text)) is not None:
      return Stop(count, text[:found])
  return None


def settled(text: str, stops: Collection[str]) -> int:
  """How many characters of a text that goes on will stay, whatever comes.

  Its end may be part of a character, which decodes as U+FFFD, or the beginning of a stop.
  """
  text = text.rstrip("\N{REPLACEMENT CHARACTER}")
  begun = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
  return len(text) - max(begun, default=0)

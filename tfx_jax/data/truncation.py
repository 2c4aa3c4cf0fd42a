"""Truncation of examples whose sequences are longer than allowed."""

import dataclasses
from typing import Literal

from tfx_jax.codecs.codec import Element, Elements
from tfx_jax.data.example import Pair

# What is done with a source that is too long: the example is dropped, or a part of the source.
LONG_SOURCES = ("drop", "cut_end", "cut_start")


@dataclasses.dataclass(frozen=True)
class Truncation:
  """Limits of sequences, special tokens included, and what is done with longer ones.

  Attributes:
    max_source_length: most elements of a source.
    max_target_length: most elements of a target; 0 for no limit.
    long_sources: one of `LONG_SOURCES`.
    context: whether the source of each chunk of a long target is what precedes the chunk; otherwise
      it is empty. Only for targets without a source.
  """

  max_source_length: int
  max_target_length: int
  long_sources: str = "drop"
  context: bool = False

  def pairs(
    self, source: Elements | None, target: Elements, elements: tuple[Element, Element]
  ) -> list[Pair] | Literal["empty", "too_long"]:
    """Returns the pairs that an example makes, with special tokens, or why it is dropped.

    Args:
      source: the encoded source; None if the example has none. Then a target that is too long is
        not dropped but split into chunks.
      target: the encoded target.
      elements: elements of sources and of targets.
    """
    if not len(target) or (source is not None and not len(source)):
      return "empty"
    target = elements[1].as_target(target)
    if source is None:
      return self._chunks(target, elements[0])
    if 0 < self.max_target_length < len(target):
      return "too_long"
    if self.long_sources == "drop" and self.cuts(source, elements[0]):
      return "too_long"
    longest, from_start = self._longest(elements[0]), self.long_sources == "cut_start"
    return [(elements[0].as_source(cut(source, longest, from_start)), target)]

  def cuts(self, source: Elements, element: Element) -> bool:
    """Returns whether a source is longer than allowed."""
    return len(source) > self._longest(element)

  def _longest(self, element: Element) -> int:
    """Most elements of a source before special tokens are added."""
    return self.max_source_length - len(element.as_source([]))

  def _chunks(self, target: Elements, element: Element) -> list[Pair]:
    step, longest = self.max_target_length or len(target), self._longest(element)
    return [
      (element.as_source(target[max(0, start - longest) : start]) if self.context else [], chunk)
      for start in range(0, len(target), step)
      if len(chunk := target[start : start + step])
    ]


def cut(elements: Elements, longest: int, from_start: bool) -> Elements:
  """Returns at most `longest` elements: the last ones if `from_start`, otherwise the first."""
  if len(elements) <= longest:
    return elements
  return elements[len(elements) - longest :] if from_start else elements[:longest]

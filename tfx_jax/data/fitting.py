"""What is kept of an example as token ids: all of it, a part, several pieces, or nothing."""

from collections.abc import Iterator, Sequence

from tfx_jax.codecs.special_tokens import DEFAULT, SpecialTokens
from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.data.example import Example

# What is done with a source that is too long.
LONG_SOURCES = ("drop", "cut_end", "cut_start")


def encoded(
  chunk: list[Example], source_tokenizer: Tokenizer, target_tokenizer: Tokenizer
) -> Iterator[tuple[Example, list[int] | None, list[int]]]:
  """Each example with its token ids; blank texts have none."""

  def text(side: str | None) -> str:
    return side if side and side.strip() else ""

  read = source_tokenizer.encode([text(example.source) for example in chunk])
  written = target_tokenizer.encode([text(example.target) for example in chunk])
  for example, source, target in zip(chunk, read, written, strict=True):
    yield example, None if example.source is None else source, target


def kept(
  source: list[int] | None,
  target: list[int],
  longest_source: int,
  longest_target: int,
  long_sources: str,
  context: bool,
  special_tokens: tuple[SpecialTokens, SpecialTokens] = (DEFAULT, DEFAULT),
) -> list[tuple[list[int], list[int]]] | str:
  """Pairs that an example makes, with special tokens; or why it is dropped: "empty", "too_long".

  Args:
    source: token ids; None where the target is only written, and then split if it is too long.
    target: token ids.
    longest_source: tokens of a source, special tokens included.
    longest_target: tokens of a target, special tokens included; 0: any.
    long_sources: one of `LONG_SOURCES`.
    context: whether the source of a piece is what comes before it in its text.
    special_tokens: of sources and of targets.
  """
  if not target or source == []:
    return "empty"
  read, target = special_tokens[0], special_tokens[1].as_target(target)
  longest_source -= len(read.as_source([]))
  if source is None:
    step = longest_target or len(target)
    return [
      (read.as_source(target[max(0, place - longest_source) : place]) if context else [], piece)
      for place in range(0, len(target), step)
      if (piece := target[place : place + step])
    ]
  if 0 < longest_target < len(target) or (long_sources == "drop" and len(source) > longest_source):
    return "too_long"
  return [(read.as_source(cut(source, longest_source, long_sources == "cut_start")), target)]


def cut(ids: Sequence[int], longest: int, from_start: bool) -> Sequence[int]:
  """At most `longest` of the ids, the last ones if the cut is made at the start."""
  if len(ids) <= longest:
    return ids
  return ids[len(ids) - longest :] if from_start else ids[:longest]

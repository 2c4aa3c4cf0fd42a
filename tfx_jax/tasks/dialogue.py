"""Dialogue: the turns so far in, the next one out."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tfx_jax.data.example import Example
from tfx_jax.errors import UserError, nearest
from tfx_jax.sources.detokenize import detokenize
from tfx_jax.sources.overlap import normalise
from tfx_jax.tasks.scored import Scored

ANSWERS = ("all", "last")
_END = "__eou__"
# White space around what is said. Other, such as U+0085 and no-break spaces, belongs to it.
_BLANK = " \t\r\n"
# "#Person1#:Hi", "Amanda: Hi", "Mr. Smith: Hi", but no "12:30 is fine".
_NAMED = re.compile(r"[ \t]*(?:(#\w+#):|([^\s:]+(?: [^\s:]+)?):(?:[ \t\r]|$))(.*)")


class Turn(NamedTuple):
  """What one speaker says until another speaks; speakers are 1, 2, … as they come in."""

  speaker: int
  text: str


@dataclasses.dataclass(frozen=True)
class Dialogue(Scored):
  """Every turn of a dialogue but the first is an answer to those before it.

  Attributes:
    source: the field that holds a dialogue, see `turns`.
    answers: which turns are written: 'all', or the 'last' one of a dialogue.
    history_turns: how many turns before an answer are read, at most; 0: all.
    detokenize: whether turns are cleaned by `tfx_jax.sources.detokenize`, which is for English.
  """

  source: str = "dialogue"
  answers: str = "all"
  history_turns: int = 0
  detokenize: bool = True
  metrics: Sequence[str] = ("bleu1", "bleu2", "distinct1", "distinct2", "length")

  def __post_init__(self):
    if self.answers not in ANSWERS:
      raise UserError(f"task.answers='{self.answers}'{nearest(self.answers, ANSWERS)}")
    if self.history_turns < 0:
      raise UserError(f"task.history_turns={self.history_turns}: use 0 (all) or more")
    super().__post_init__()

  @property
  def identity(self) -> str:
    """What its examples of a record depend on; the number is of the rules of `turns`."""
    settings = (self.source, self.answers, self.history_turns, self.detokenize)
    return "-".join(map(str, ("dialogue2", *settings)))

  def fields(self, split: str) -> tuple[str, ...]:
    """The fields of a record that the task needs in a split."""
    return (self.source,)

  def examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """The answers of a dialogue, each with what was said before; none of a single turn."""
    said = self.turns(record[self.source])
    first = 1 if self.answers == "all" else max(1, len(said) - 1)
    for place in range(first, len(said)):
      yield Example(self.source_of(said[:place], said[place].speaker), said[place].text)

  eval_examples = examples

  def source_of(self, turns: Sequence[Turn], speaker: int) -> str:
    """What is read for the next turn, which is `speaker`'s: "<1> Hi! <2> Hello. <1>"."""
    read = turns[-self.history_turns :]
    return " ".join([*(f"{mark(turn.speaker)} {turn.text}" for turn in read), mark(speaker)])

  def turns(self, text: str) -> list[Turn]:
    """The turns of a dialogue, see the function `turns`, cleaned if the task says so."""
    return [Turn(turn.speaker, self.clean(turn.text)) for turn in turns(text)]

  def clean(self, text: str) -> str:
    """What someone says as the model has learnt to read it."""
    return detokenize(text) if self.detokenize else text

  def overlap_keys(self, record: Mapping[str, str]) -> Iterator[str]:
    """Every two turns in a row: dialogues that have one of these in common are alike."""
    for pair in itertools.pairwise(turns(record[self.source])):
      yield " / ".join(normalise(turn.text) for turn in pair)


def turns(text: str) -> list[Turn]:
  """Splits a dialogue into turns; what a speaker says in a row is one.

  Args:
    text: lines that begin with a speaker, "#NAME#:" or a name of one or two words and ": ", a line
      without one going on with the line before; or turns of two speakers in alternation, "__eou__"
      between them, of which what follows a tab is left out (labels). Only a line feed ends a line.
  """
  if _END in text:
    spoken = [said.strip(_BLANK) for said in text.partition("\t")[0].split(_END)]
    lines = [(str(place % 2), said) for place, said in enumerate(filter(None, spoken))]
  else:
    lines = []
    for line in text.split("\n"):
      if named := _NAMED.match(line):
        lines.append(((named[1] or named[2]).casefold(), named[3].strip(_BLANK)))
      else:
        lines.append((lines[-1][0] if lines else "", line.strip(_BLANK)))
  speakers: dict[str, int] = {}
  found = []
  said_lines = [(name, said) for name, said in lines if said]
  for name, group in itertools.groupby(said_lines, key=lambda line: line[0]):
    speaker = speakers.setdefault(name, len(speakers) + 1)
    found.append(Turn(speaker, " ".join(said for _, said in group)))
  return found


def mark(speaker: int) -> str:
  """What stands before a speaker's turn; `tokenizer.symbols` can make it one piece."""
  return f"<{speaker}>"

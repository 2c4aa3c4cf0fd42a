"""Dialogue: the next turn is generated from the turns before it."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from tfx_jax.data.example import Example
from tfx_jax.errors import UserError, nearest
from tfx_jax.sources.detokenize import detokenize
from tfx_jax.sources.overlap import normalise
from tfx_jax.tasks.scored import Scored

ANSWERS = ("all", "last")
_END = "__eou__"
# White space that is removed around a turn. Other, such as U+0085 and no-break spaces, is kept.
_BLANK = " \t\r\n"
# "#Person1#:Hi", "Amanda: Hi", "Mr. Smith: Hi", but no "12:30 is fine".
_NAMED = re.compile(r"[ \t]*(?:(#\w+#):|([^\s:]+(?: [^\s:]+)?):(?:[ \t\r]|$))(.*)")


class Turn(NamedTuple):
  """All that one speaker says until another speaks; speakers are numbered from 1 by first turn."""

  speaker: int
  text: str


@runtime_checkable
class DialogueTask(Protocol):
  """The methods of a task that a conversation needs."""

  def source_of(self, turns: Sequence[Turn], speaker: int) -> str:
    """Returns the source of the next turn, by `speaker`."""
    ...

  def clean(self, text: str) -> str:
    """Returns a person's text as the turns of the training data are written."""
    ...


@dataclasses.dataclass(frozen=True)
class Dialogue(Scored):
  """Every turn of a dialogue but the first is an answer to those before it.

  Attributes:
    source: the field of a dialogue, see `turns`.
    answers: the turns that are targets: 'all', or the 'last' one of a dialogue.
    history_turns: most turns before an answer that are its source; 0 for all.
    detokenize: whether turns are cleaned by `tfx_jax.sources.detokenize`, which is for English.
  """

  source: str = "dialogue"
  answers: str = "all"
  history_turns: int = 0
  detokenize: bool = True
  metrics: Sequence[str] = ("bleu1", "bleu2", "distinct1", "distinct2", "length")

  def __post_init__(self) -> None:
    if self.answers not in ANSWERS:
      raise UserError(f"task.answers='{self.answers}'{nearest(self.answers, ANSWERS)}")
    if self.history_turns < 0:
      raise UserError(f"task.history_turns={self.history_turns}: use 0 (all) or more")
    super().__post_init__()

  @property
  def identity(self) -> str:
    """A string that changes when the same records give other examples."""
    # The number in the name is the version of the rules of `turns`.
    settings = (self.source, self.answers, self.history_turns, self.detokenize)
    return "-".join(map(str, ("dialogue2", *settings)))

  def fields(self, split: str) -> tuple[str, ...]:
    """Returns the field of a record that the task needs."""
    return (self.source,)

  def examples(self, record: Mapping[str, str]) -> Iterator[Example]:
    """Yields the answers of a dialogue, each with the turns before it; none for a single turn."""
    turns = self.turns(record[self.source])
    first = 1 if self.answers == "all" else max(1, len(turns) - 1)
    for number in range(first, len(turns)):
      answer = turns[number]
      yield Example(self.source_of(turns[:number], answer.speaker), answer.text)

  eval_examples = examples

  def source_of(self, turns: Sequence[Turn], speaker: int) -> str:
    """Returns the source of the next turn, `speaker`'s: "<1> Hi! <2> Hello. <1>"."""
    history = turns[-self.history_turns :]
    return " ".join([*(f"{mark(turn.speaker)} {turn.text}" for turn in history), mark(speaker)])

  def turns(self, text: str) -> list[Turn]:
    """Returns the turns of a dialogue, see the function `turns`, cleaned if `detokenize`."""
    return [Turn(turn.speaker, self.clean(turn.text)) for turn in turns(text)]

  def clean(self, text: str) -> str:
    """Returns a turn in the form that the model is trained on."""
    return detokenize(text) if self.detokenize else text

  def overlap_keys(self, record: Mapping[str, str]) -> Iterator[str]:
    """Yields every two successive turns: dialogues that share such a pair overlap."""
    for pair in itertools.pairwise(turns(record[self.source])):
      yield " / ".join(normalise(turn.text) for turn in pair)


def turns(text: str) -> list[Turn]:
  """Splits a dialogue into turns; successive lines of a speaker are one turn.

  Args:
    text: either lines that start with a speaker, "#NAME#:" or a name of one or two words and ": ",
      where a line without one continues the line before, and only a line feed ends a line; or turns
      of two speakers in alternation, separated by "__eou__", where everything after a tab (labels)
      is ignored.
  """
  if _END in text:
    parts = [part.strip(_BLANK) for part in text.partition("\t")[0].split(_END)]
    lines = [(str(number % 2), part) for number, part in enumerate(filter(None, parts))]
  else:
    lines = []
    for line in text.split("\n"):
      if named := _NAMED.match(line):
        lines.append(((named[1] or named[2]).casefold(), named[3].strip(_BLANK)))
      else:
        lines.append((lines[-1][0] if lines else "", line.strip(_BLANK)))
  speakers: dict[str, int] = {}
  result = []
  nonempty = [(name, line) for name, line in lines if line]
  for name, group in itertools.groupby(nonempty, key=lambda item: item[0]):
    speaker = speakers.setdefault(name, len(speakers) + 1)
    result.append(Turn(speaker, " ".join(line for _, line in group)))
  return result


def mark(speaker: int) -> str:
  """Returns the prefix of a speaker's turns; `tokenizer.symbols` can make it one piece."""
  return f"<{speaker}>"

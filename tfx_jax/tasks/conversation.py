"""A conversation between a person and a model: what has been said, and what the model reads."""

import itertools
from collections.abc import Callable, Sequence

from tfx_jax.tasks.dialogue import Turn

PERSON, MODEL = 1, 2


class Conversation:
  """Turns in alternation; of a history that is too long the oldest are forgotten.

  Args:
    source_of: from turns and the speaker whose turn is next to what is read.
    fits: whether a model can read a text.

  Attributes:
    turns: what is remembered, oldest first.
  """

  def __init__(
    self, source_of: Callable[[Sequence[Turn], int], str], fits: Callable[[str], bool]
  ) -> None:
    self._source_of, self._fits = source_of, fits
    self.turns: list[Turn] = []

  def ask(self, text: str) -> tuple[str, int]:
    """Adds what the person says; returns what the model reads, and how many turns were forgotten.

    What has just been said is never forgotten, even if it is too long.
    """
    self._add(PERSON, text)
    for forgotten in itertools.count():
      source = self._source_of(self.turns, MODEL)
      if self._fits(source) or len(self.turns) == 1:
        return source, forgotten
      del self.turns[0]

  def answer(self, text: str) -> None:
    """Adds what the model says."""
    if text:
      self._add(MODEL, text)

  def reset(self) -> None:
    """Forgets everything."""
    self.turns.clear()

  def _add(self, speaker: int, text: str) -> None:
    # Where an answer is missing, the same speaker goes on.
    if self.turns and self.turns[-1].speaker == speaker:
      text = f"{self.turns.pop().text} {text}"
    self.turns.append(Turn(speaker, text))

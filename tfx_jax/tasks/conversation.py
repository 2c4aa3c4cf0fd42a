"""A conversation between a person and a model: its turns, and the source of the next one."""

from collections.abc import Callable, Sequence

from tfx_jax.tasks.dialogue import Turn

PERSON, MODEL = 1, 2


class Conversation:
  """Turns in alternation; the oldest are forgotten when the model cannot take all of them.

  Args:
    source_of: (turns, speaker of the next one) -> source of the next turn.
    fits: source -> whether the model can take all of it.

  Attributes:
    turns: the turns that are remembered, oldest first.
  """

  def __init__(
    self, source_of: Callable[[Sequence[Turn], int], str], fits: Callable[[str], bool]
  ) -> None:
    self._source_of, self._fits = source_of, fits
    self.turns: list[Turn] = []

  def ask(self, text: str) -> tuple[str, int]:
    """Adds a turn of the person; returns the answer's source, and how many turns were forgotten.

    The turn just added is never forgotten, even if it is too long.
    """
    self._add(PERSON, text)
    forgotten, source = 0, self._source_of(self.turns, MODEL)
    while len(self.turns) > 1 and not self._fits(source):
      del self.turns[0]
      forgotten, source = forgotten + 1, self._source_of(self.turns, MODEL)
    return source, forgotten

  def answer(self, text: str) -> None:
    """Adds a turn of the model, unless it is empty."""
    if text:
      self._add(MODEL, text)

  def reset(self) -> None:
    """Forgets everything."""
    self.turns.clear()

  def _add(self, speaker: int, text: str) -> None:
    # If there was no answer, the turn continues the last one of the same speaker.
    if self.turns and self.turns[-1].speaker == speaker:
      text = f"{self.turns.pop().text} {text}"
    self.turns.append(Turn(speaker, text))

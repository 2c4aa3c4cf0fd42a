"""A conversation with a run from Python."""

from collections.abc import Callable, Generator, Iterator, Sequence

from tfx_jax.tasks.conversation import Conversation
from tfx_jax.tasks.dialogue import DialogueTask, Turn

# Removed from both ends of a turn; other white space belongs to the turn.
BLANK = " \t\r\n"


class Chat:
  """A conversation between a person and a run; it remembers as many turns as the model can read.

  Args:
    task: the run's task.
    fits: source -> whether the model can read all of it.
    chunks: (source, number of the answer) -> the answer in chunks.

  Attributes:
    forgotten: number of turns that were forgotten before the last answer.
  """

  def __init__(
    self,
    task: DialogueTask,
    fits: Callable[[str], bool],
    chunks: Callable[[str, int], Iterator[str]],
  ) -> None:
    self._task, self._chunks = task, chunks
    self._conversation = Conversation(task.source_of, fits)
    self._number = 0
    self.forgotten = 0

  def say(self, text: str) -> str:
    """Returns the answer to a turn of the person."""
    return "".join(self.stream(text)).strip(BLANK)

  def stream(self, text: str) -> Generator[str, None, None]:
    """Returns the answer to a turn of the person in chunks, each as soon as it is generated.

    The answer is remembered as far as it was read.
    """
    source, self.forgotten = self._conversation.ask(self._task.clean(text))
    number, self._number = self._number, self._number + 1
    return self._remembered(self._chunks(source, number))

  def _remembered(self, chunks: Iterator[str]) -> Generator[str, None, None]:
    answer = ""
    try:
      for chunk in chunks:
        answer += chunk
        yield chunk
    finally:
      self._conversation.answer(answer.strip(BLANK))

  @property
  def turns(self) -> Sequence[Turn]:
    """The turns that are remembered, oldest first; the person is speaker 1."""
    return tuple(self._conversation.turns)

  def reset(self) -> None:
    """Forgets everything."""
    self._conversation.reset()

"""What a task hands to the data pipeline."""

from typing import NamedTuple


class Example(NamedTuple):
  """A text that is read and the text to be written for it.

  Attributes:
    source: the text that is read; None for a text that is only written.
    target: the text that is written.
    kind: of sentence they are; '' where not known.
    references: the texts that a prediction is judged by; none: the target.
  """

  source: str | None
  target: str
  kind: str = ""
  references: tuple[str, ...] = ()

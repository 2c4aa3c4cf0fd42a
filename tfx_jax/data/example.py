"""What a task hands to the data pipeline."""

from typing import NamedTuple


class Example(NamedTuple):
  """What is read and what is written.

  Attributes:
    source: the text that is read; None where a text is only written.
    target: the text that is written.
    kind: of example, '' where not known.
    references: texts that what is written is judged by, if they are not the target alone.
  """

  source: str | None
  target: str
  kind: str = ""
  references: tuple[str, ...] = ()

  @property
  def judged_by(self) -> tuple[str, ...]:
    """The references, or else the target."""
    return self.references or (self.target,)

"""Translation: one text in, the same in another language out."""

import dataclasses

from tfx_jax.tasks.text_to_text import TextToText


@dataclasses.dataclass(frozen=True)
class Translate(TextToText):
  """Translation from one field of a record to another."""

  @property
  def language(self) -> str:
    """The target field's name, or the part after the last dot of it."""
    return self.target.rpartition(".")[2]

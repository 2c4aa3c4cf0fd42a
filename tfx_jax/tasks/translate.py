"""Translation of a text into another language."""

import dataclasses

from tfx_jax.tasks.text_to_text import TextToText


@dataclasses.dataclass(frozen=True)
class Translate(TextToText):
  """Translation from the language of one field of a record to that of another."""

  @property
  def language(self) -> str:
    """Language of outputs: the name of the target field, or the part after its last dot."""
    return self.target.rpartition(".")[2]

"""One example of a task."""

from typing import NamedTuple

from tfx_jax.codecs.codec import AnyValue, Elements

# An encoded example: a source and a target, special tokens included.
Pair = tuple[Elements, Elements]


class Example(NamedTuple):
  """An input and the output that belongs to it.

  Values are of the kinds that the run's codecs encode: texts, images, sounds …

  Attributes:
    source: the input; None if the task has no source.
    target: the output.
    kind: name of a group that scores are reported for separately; '' for none.
    references: outputs that a generated one is scored against, if not only the target.
  """

  source: AnyValue | None
  target: AnyValue
  kind: str = ""
  references: tuple[AnyValue, ...] = ()

  @property
  def judged_by(self) -> tuple[AnyValue, ...]:
    """The references, or else the target."""
    return self.references or (self.target,)

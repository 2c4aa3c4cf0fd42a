"""What a task hands to the data pipeline."""

from typing import NamedTuple


class Example(NamedTuple):
  """A source text, its target text, and the kind of sentence they are ('' where not known)."""

  source: str
  target: str
  kind: str = ""

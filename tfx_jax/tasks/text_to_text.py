"""Base class of tasks whose source and target are texts in two fields of a record."""

import dataclasses
from collections.abc import Sequence

from tfx_jax.tasks.pairs import Pairs
from tfx_jax.tasks.scored import Scored


@dataclasses.dataclass(frozen=True)
class TextToText(Pairs, Scored):
  """A text in one field of a record as the source, that in another as the target."""

  _: dataclasses.KW_ONLY
  metrics: Sequence[str] = ("bleu", "chrf")

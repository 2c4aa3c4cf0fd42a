"""What stands around the tokens of a text.

Ids 0 to 3 are the same specials in every tokenizer that is trained here. Those of other origin have
their own: whoever needs one asks the tokenizer for its `marks`.
"""

from collections.abc import Sequence
from typing import NamedTuple

PAD, EOS, UNK, BOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "</s>", "<unk>", "<s>")


class SpecialTokens(NamedTuple):
  """The ids of what is no part of a text.

  Attributes:
    eos: ends what is written; targets are given this one.
    bos: what a decoder reads before all else; None: nothing.
    unk: stands for what has no piece; None where there is always a piece.
    pad: fills up, and is never written; None if there is no such piece.
    before: what every text begins with.
    after: what a text that is read ends with.
    other_ends: end an output as well where a model writes them, like a turn's end in a chat.
  """

  eos: int = EOS
  bos: int | None = BOS
  unk: int | None = UNK
  pad: int | None = PAD
  before: tuple[int, ...] = ()
  after: tuple[int, ...] = (EOS,)
  other_ends: tuple[int, ...] = ()

  @property
  def ends(self) -> tuple[int, ...]:
    """All that end an output."""
    return (self.eos, *self.other_ends)

  @property
  def identity(self) -> tuple:
    """What they are, in a form that stays the same where nothing of it is new."""
    return tuple(self) if self.other_ends else tuple(self)[:-1]

  @property
  def ids(self) -> frozenset[int]:
    """The marks, each by itself."""
    alone = {*self.ends, self.bos, self.unk, self.pad} - {None}
    return frozenset({*alone, *self.before, *self.after})

  def read(self, ids: Sequence[int]) -> list[int]:
    """A source."""
    return [*self.before, *ids, *self.after]

  def written(self, ids: Sequence[int]) -> list[int]:
    """A target."""
    return [*self.before, *ids, self.eos]


# Those of tokenizers that are trained here.
DEFAULT = SpecialTokens()

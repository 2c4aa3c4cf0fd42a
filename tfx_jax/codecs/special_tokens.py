"""Special tokens: ids that stand for no part of a value, such as the end of a sequence.

Tokenizers that are trained here all have the ids 0 to 3 for them. Pretrained ones have others:
ask the tokenizer for its `special_tokens`.
"""

from collections.abc import Iterable
from typing import NamedTuple

PAD, EOS, UNK, BOS = 0, 1, 2, 3
# Their names in the vocabulary, by id.
SPECIAL_PIECES = ("<pad>", "</s>", "<unk>", "<s>")


class SpecialTokens(NamedTuple):
  """The special tokens of a codec.

  Attributes:
    eos: the id that targets end with.
    bos: the first decoder input; None if a decoder starts with the first token of the sequence.
    unk: the id of what the vocabulary does not have; None if it has everything.
    pad: the id that pads batches, never generated; None if there is no such id.
    prefix: ids that every source and target starts with, for example a language.
    source_suffix: ids that every source ends with.
    other_eos: further ids that end a generated sequence, for example the end of a turn in a chat.
  """

  eos: int = EOS
  bos: int | None = BOS
  unk: int | None = UNK
  pad: int | None = PAD
  prefix: tuple[int, ...] = ()
  source_suffix: tuple[int, ...] = (EOS,)
  other_eos: tuple[int, ...] = ()

  @property
  def eos_ids(self) -> tuple[int, ...]:
    """Ids that end a generated sequence."""
    return (self.eos, *self.other_eos)

  @property
  def mask(self) -> int:
    """The id that a decoder reads in place of a token that is masked: BOS, or EOS without BOS.

    Inside a target a decoder reads neither otherwise.
    """
    return self.eos if self.bos is None else self.bos

  @property
  def ids(self) -> frozenset[int]:
    """All special ids."""
    single = {*self.eos_ids, self.bos, self.unk, self.pad} - {None}
    return frozenset({*single, *self.prefix, *self.source_suffix})

  @property
  def fingerprint_parts(self) -> tuple:
    """Fields that belong to a fingerprint."""
    # Fingerprints that were saved before `other_eos` existed stay valid.
    return tuple(self) if self.other_eos else tuple(self)[:-1]

  def as_source(self, ids: Iterable[int]) -> list[int]:
    """Returns the ids of a value as a source: with the prefix and the suffix of sources."""
    return [*self.prefix, *ids, *self.source_suffix]

  def as_target(self, ids: Iterable[int]) -> list[int]:
    """Returns the ids of a value as a target: with the prefix and EOS."""
    return [*self.prefix, *ids, self.eos]


# The special tokens of tokenizers that are trained here.
DEFAULT = SpecialTokens()

"""Alignments: the source pieces that each target piece attends to most."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from tfx_jax.codecs.special_tokens import EOS, SPECIAL_PIECES, UNK
from tfx_jax.data.layout import Layout
from tfx_jax.errors import UserError
from tfx_jax.evaluation.pairs import in_batches
from tfx_jax.models.model import Batch, Model, Params
from tfx_jax.parallel import Parallel

Links = list[tuple[int, int]]

# Spaces in the names of pieces: SentencePiece's symbol, or bytes.
_SPACE = re.compile("▁|<0x(?:09|0A|0D|20)>")
# Characters that separate words; a no-break space or a line separator does not.
_BLANK = " \t\n\r"


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
  """Attention of a target's pieces to the pieces of its source.

  Attributes:
    source: S pieces, EOS included.
    target: T pieces, EOS included.
    weights: float32 [T,S], attention to piece s when piece t is predicted; rows sum to 1.
  """

  source: list[str]
  target: list[str]
  weights: np.ndarray

  def links(self) -> Links:
    """Returns pairs (s, t): for each target piece the source piece that it attends to most.

    EOS is left out on both sides.
    """
    sources = [s for s, piece in enumerate(self.source) if piece != SPECIAL_PIECES[EOS]]
    if not sources:
      return []
    best = self.weights[:, sources].argmax(axis=1)
    return [
      (sources[s], t)
      for t, (s, piece) in enumerate(zip(best, self.target, strict=True))
      if piece != SPECIAL_PIECES[EOS]
    ]

  def word_links(self) -> Links:
    """Returns pairs of words, numbered from 0, whose pieces are linked; words are between spaces.

    An unknown piece is part of a word in the source; in the target it has no text.
    """
    no_text = (SPECIAL_PIECES[EOS], SPECIAL_PIECES[UNK])
    source = _words("" if piece == SPECIAL_PIECES[EOS] else piece for piece in self.source)
    target = _words("" if piece in no_text else piece for piece in self.target)
    words = {(source[s], target[t]) for s, t in self.links()}
    return sorted((s, t) for s, t in words if s is not None and t is not None)

  def __str__(self) -> str:
    return pharaoh(self.links())


def pharaoh(links: Links) -> str:
  """Returns links as text, source before target: '0-0 1-2'."""
  return " ".join(f"{s}-{t}" for s, t in links)


def _words(pieces: Iterable[str]) -> list[int | None]:
  """Returns the number of the word that each piece ends in; a space belongs to the next word."""
  word, inside, numbers = -1, False, []
  for piece in pieces:
    last = word + 1 if piece else None
    for letter in _SPACE.sub(" ", piece):
      blank = letter in _BLANK
      if not blank:
        word += not inside
        last = word
      inside = not blank
    numbers.append(last)
  return [None if last is None or last > word else last for last in numbers]


class Aligner:
  """Computes the attention in pairs of token sequences.

  Args:
    model: the model whose attention is read.
    parallel: the mesh.
    layout: how the model is given pairs.
    batch_size: pairs that are computed together.
    layer: decoder layer; -1 for the last.
  """

  def __init__(self, model: Model, parallel: Parallel, layout: Layout, batch_size: int, layer: int):
    self._parallel, self._layout = parallel, layout
    self._rows = -(-batch_size // parallel.batch_shards) * parallel.batch_shards
    self._weights = parallel.jit(functools.partial(_weights, model, layer))

  def __call__(
    self, params: Params, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
  ) -> list[np.ndarray]:
    """Returns the attention weights [T,S] of each pair.

    Args:
      params: parameters of the model.
      sources: token ids of the sources, with special tokens.
      targets: token ids of the targets, with special tokens.

    Raises:
      UserError: if a weight is NaN.
    """
    attention = [np.zeros((0, 0))] * len(sources)
    for members, batch in in_batches(self._layout, sources, targets, self._rows):
      weights = self._parallel.fetch(self._weights(params, self._parallel.place_whole(batch)))
      for member, row in zip(members, weights, strict=False):
        attention[member] = row[: len(targets[member]), : len(sources[member])].copy()
        if np.isnan(attention[member]).any():
          raise UserError(
            f"pair {member + 1}: the model's attention is not finite: its parameters are damaged "
            "(NaN or infinity)"
          )
    return attention


def _weights(model: Model, layer: int, params: Params, batch: Batch) -> jax.Array:
  """Returns the attention of a decoder layer to the source, [B,T,S]."""
  return model.bind({"params": params}).attention(batch, layer)

"""Which part of a source each part of a target was made from, by the decoder's attention."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from tfx_jax.codecs.special_tokens import EOS, SPECIAL_PIECES, UNK
from tfx_jax.data.layout import Layout
from tfx_jax.errors import UserError
from tfx_jax.evaluation.pairs import in_batches
from tfx_jax.models.model import Model
from tfx_jax.parallel import Parallel

Links = list[tuple[int, int]]

# How pieces write a space: sentencepiece's mark, or bytes.
_SPACE = re.compile("▁|<0x(?:09|0A|0D|20)>")
# What separates words; not so a no-break space, or a line separator.
_BLANK = " \t\n\r"


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
  """What a model attends to in a source while it writes a target.

  Attributes:
    source: S pieces, EOS included.
    target: T pieces, EOS included.
    weights: float32 [T,S], of the piece t and the piece s when t is predicted; rows sum to 1.
  """

  source: list[str]
  target: list[str]
  weights: np.ndarray

  def links(self) -> Links:
    """Pairs (s, t) of each target piece and what it attends to most, EOS left out on both sides."""
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
    """Pairs of words, counted from 0 and separated by spaces, that a link of their pieces joins.

    An unknown piece is part of a word of the source; in the target it leaves no text.
    """
    unwritten = (SPECIAL_PIECES[EOS], SPECIAL_PIECES[UNK])
    source = _words("" if piece == SPECIAL_PIECES[EOS] else piece for piece in self.source)
    target = _words("" if piece in unwritten else piece for piece in self.target)
    words = {(source[s], target[t]) for s, t in self.links()}
    return sorted(pair for pair in words if None not in pair)

  def __str__(self) -> str:
    return pharaoh(self.links())


def pharaoh(links: Links) -> str:
  """Links as text: '0-0 1-2', source before target."""
  return " ".join(f"{s}-{t}" for s, t in links)


def _words(pieces: Iterable[str]) -> list[int | None]:
  """The number of the word that each piece ends in, spaces being of the word they come before."""
  word, inside, found = -1, False, []
  for piece in pieces:
    last = word + 1 if piece else None
    for letter in _SPACE.sub(" ", piece):
      blank = letter in _BLANK
      if not blank:
        word += not inside
        last = word
      inside = not blank
    found.append(last)
  return [None if last is None or last > word else last for last in found]


class Aligner:
  """Gives the attention of pairs of token sequences.

  Args:
    model: the model whose attention is read.
    parallel: the mesh.
    layout: how the model reads pairs.
    batch_size: pairs looked at at a time.
    layer: of the decoder, -1 the last.
  """

  def __init__(self, model: Model, parallel: Parallel, layout: Layout, batch_size: int, layer: int):
    self._parallel, self._layout = parallel, layout
    self._rows = -(-batch_size // parallel.batch_shards) * parallel.batch_shards
    self._weights = parallel.jit(functools.partial(_weights, model, layer))

  def __call__(
    self, params: Any, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
  ) -> list[np.ndarray]:
    """The weights [T,S] of each pair.

    Raises:
      UserError: if one is no number.
    """
    found = [np.zeros((0, 0))] * len(sources)
    for members, batch in in_batches(self._layout, sources, targets, self._rows):
      weights = self._parallel.fetch(self._weights(params, self._parallel.place_whole(batch)))
      for member, row in zip(members, weights, strict=False):
        found[member] = row[: len(targets[member]), : len(sources[member])].copy()
        if np.isnan(found[member]).any():
          raise UserError(
            f"pair {member + 1}: the model's attention is not finite: its parameters are damaged "
            "(NaN or infinity)"
          )
    return found


def _weights(model: Model, layer: int, params: Any, batch: dict[str, jax.Array]) -> jax.Array:
  return model.bind({"params": params}).attention(batch, layer)

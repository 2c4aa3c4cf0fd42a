"""Random segmentations of texts into the pieces of a sentencepiece model.

The library draws them as well, but in its version 0.2.3 the same seed gives other ones in every
process, so that a resumed run, or another process of a run, would be trained on other data.
"""

import heapq
import itertools
import math
import random
import struct
from collections.abc import Iterator

from tfx_jax.codecs.text.sentencepiece_model import fields

# In sentencepiece's ModelProto: pieces, and settings with the type of the model and byte fallback.
_PIECE, _TRAINER_SPEC, _MODEL_TYPE, _BYTE_FALLBACK = 1, 2, 3, 35
_UNIGRAM = 1
# Types of pieces.
_NORMAL, _UNKNOWN, _USER_DEFINED, _BYTE = 1, 2, 4, 6


class Segmenter:
  """Draws segmentations as sentencepiece does, with a random generator of Python.

  Args:
    model: a serialized model, unigram or BPE.
  """

  def __init__(self, model: bytes) -> None:
    settings, pieces = {}, []
    for number, value in fields(model):
      if number == _PIECE:
        pieces.append(dict(fields(value)))
      elif number == _TRAINER_SPEC:
        settings = dict(fields(value))
    self._unigram = settings.get(_MODEL_TYPE, _UNIGRAM) == _UNIGRAM
    self._byte_fallback = bool(settings.get(_BYTE_FALLBACK, 0))
    self._unk, self._bytes = 0, []
    self._scores: dict[str, float] = {}
    self._ids: dict[str, int] = {}
    self._symbols: set[str] = set()
    for i, piece in enumerate(pieces):
      text, kind = piece[1].decode(), piece.get(3, _NORMAL)
      if kind == _UNKNOWN:
        self._unk = i
      elif kind == _BYTE:
        self._bytes.append(i)
      elif kind in (_NORMAL, _USER_DEFINED):
        self._ids[text] = i
        self._scores[text] = struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0
        if kind == _USER_DEFINED:
          self._symbols.add(text)
    self._prefixes = {piece[:end] for piece in self._ids for end in range(1, len(piece))}
    self._longest = max(map(len, self._symbols), default=1)
    normal = [score for text, score in self._scores.items() if text not in self._symbols]
    self._lowest = min(normal, default=0.0)
    for symbol in self._symbols:
      self._scores[symbol] = len(symbol) * max(normal, default=0.0) - 0.1

  def sample(self, text: str, rate: float, rng: random.Random) -> list[int]:
    """Returns the ids of a random segmentation.

    Args:
      text: a text that is normalized by the model.
      rate: for a BPE model, the probability that a merge is left out (Provilkov et al. 2020,
        arXiv:1910.13267); for a unigram model, the power of the segmentations' probabilities that
        they are sampled with (Kudo 2018, arXiv:1804.10959, section 3.3).
      rng: the random generator.
    """
    draw = self._draw_path if self._unigram else self._draw_merges
    ids: list[int] = []
    for known, group in itertools.groupby(draw(text, rate, rng), self._ids.__contains__):
      if known:
        ids += (self._ids[piece] for piece in group)
      elif self._byte_fallback:
        ids += (self._bytes[byte] for byte in "".join(group).encode())
      else:
        ids.append(self._unk)  # one for all successive unknown characters, as in sentencepiece
    return ids

  def _draw_merges(self, text: str, rate: float, rng: random.Random) -> list[str]:
    """Merges neighbors from the highest score to the lowest, and leaves some merges out."""
    parts = list(self._split(text))
    following = [*range(1, len(parts)), -1]
    preceding = list(range(-1, len(parts) - 1))
    merges: list[tuple[float, int, int, str]] = []

    def add(left: int, right: int) -> None:
      if left < 0 or right < 0 or not self._symbols.isdisjoint((parts[left], parts[right])):
        return
      merged = parts[left] + parts[right]
      if merged in self._ids:
        heapq.heappush(merges, (-self._scores[merged], left, right, merged))

    for left in range(len(parts) - 1):
      add(left, left + 1)
    while merges:
      _, left, right, merged = heapq.heappop(merges)
      # One of the two may have been merged with another neighbor.
      if not parts[left] or not parts[right] or parts[left] + parts[right] != merged:
        continue
      if rng.random() < rate:
        continue
      parts[left], parts[right] = merged, ""
      following[left] = following[right]
      if following[left] >= 0:
        preceding[following[left]] = left
      add(preceding[left], left)
      add(left, following[left])
    return [part for part in parts if part]

  def _split(self, text: str) -> Iterator[str]:
    """Yields the characters of a text, and symbols in one."""
    start = 0
    while start < len(text):
      ends = range(min(start + self._longest, len(text)), start + 1, -1) if self._symbols else ()
      end = next((end for end in ends if text[start:end] in self._symbols), start + 1)
      yield text[start:end]
      start = end

  def _draw_path(self, text: str, rate: float, rng: random.Random) -> list[str]:
    """Draws a path through the lattice of all segmentations, from its end to its start."""
    total = [0.0] + [-math.inf] * len(text)
    edges: list[list[tuple[int, float]]] = [[] for _ in range(len(text) + 1)]
    for start in range(len(text)):
      for end in range(start + 1, len(text) + 1):
        piece = text[start:end]
        score = self._scores.get(piece)
        if score is None and end == start + 1:
          score = self._lowest - 10  # an unknown character
        if score is not None:
          edges[end].append((start, total[start] + rate * score))
        if piece not in self._prefixes:
          break
      # All edges that end at the next position are known now.
      values = [value for _, value in edges[start + 1]]
      highest = max(values)
      total[start + 1] = highest + math.log(sum([math.exp(value - highest) for value in values]))
    pieces, end = [], len(text)
    while end:
      threshold, reached = rng.random(), 0.0
      start = edges[end][-1][0]
      for candidate, value in edges[end]:
        reached += math.exp(value - total[end])
        if threshold < reached:
          start = candidate
          break
      pieces.append(text[start:end])
      end = start
    return pieces[::-1]

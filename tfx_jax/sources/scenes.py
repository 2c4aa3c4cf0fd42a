"""Pictures of one to three shapes with captions, generated offline.

A caption such as "a small red ring left of a large blue cross above a small green square" says all
of a scene but the exact places, each one of four within a cell of 8x8 pixels. Scenes of
validation and test combine two or three objects, in combinations that are not in training.
"""

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfx_jax.errors import UserError, nearest

SIZES = {"train": 24_000, "validation": 500, "test": 1_000}
FIELDS = ("caption", "picture")
CANVAS, CELL = 16, 8  # pixels
WIDTHS = {"small": 5, "large": 7}  # pixels
COLOURS = {
  "red": (220, 40, 40),
  "green": (40, 160, 60),
  "blue": (50, 80, 220),
  "yellow": (240, 200, 40),
  "purple": (150, 60, 180),
  "black": (30, 30, 30),
}
BACKGROUND = (255, 255, 255)
SHAPES = ("square", "ring", "cross", "diamond", "triangle")
# Relations between the objects of a scene, and the top left corner of the cell of each object.
LAYOUTS = {
  (): ((4, 4),),
  ("left of",): ((4, 0), (4, 8)),
  ("above",): ((0, 4), (8, 4)),
  ("left of", "above"): ((4, 0), (0, 8), (8, 8)),
  ("above", "left of"): ((0, 4), (8, 0), (8, 8)),
}

_VERSION = 1  # of the generator, a part of the fingerprint


class Thing(NamedTuple):
  """One object of a scene."""

  size: str
  colour: str
  shape: str


THINGS = tuple(Thing(*words) for words in itertools.product(WIDTHS, COLOURS, SHAPES))


class ScenesSource:
  """One split of the built-in scenes; records are `{caption: text, picture: array, 'kind': kind}`.

  A picture is uint8 [16,16,3]. The kind is the number of objects: one, two or three.

  Attributes:
    fingerprint: a hash that changes exactly when the records do.

  Raises:
    UserError: for an unknown split or field.
  """

  def __init__(self, split: str, fields: Sequence[str]) -> None:
    if split not in SIZES:
      raise UserError(f"split: unknown split '{split}'{nearest(split, SIZES)}")
    for field in fields:
      if field not in FIELDS:
        raise UserError(f"fields: scenes have no '{field}'{nearest(field, FIELDS)}")
    self.split = split
    self.fingerprint = f"scenes-{_VERSION}-{split}"

  def __iter__(self) -> Iterator[dict]:
    rng = random.Random(f"{_VERSION} {self.split}")
    seen: set[str] = set()
    alone = [((), (thing,)) for thing in THINGS] if self.split == "train" else []
    for relations, things in itertools.chain(alone, self._combinations(rng)):
      text = caption(relations, things)
      if text in seen:
        continue
      seen.add(text)
      kind = ("one", "two", "three")[len(things) - 1]
      yield {"caption": text, "picture": draw(relations, things, rng), "kind": kind}
      if len(seen) == SIZES[self.split]:
        return

  def _combinations(
    self, rng: random.Random
  ) -> Iterator[tuple[tuple[str, ...], tuple[Thing, ...]]]:
    """Yields relations and objects of random scenes of two or three objects of this split."""
    several = [relations for relations in LAYOUTS if relations]
    while True:
      relations = several[int(rng.random() * len(several))]
      things = tuple(THINGS[int(rng.random() * len(THINGS))] for _ in LAYOUTS[relations])
      if _split_of(things) == self.split:
        yield relations, things


def caption(relations: Sequence[str], things: Sequence[Thing]) -> str:
  """Returns the text that says all of a scene: "a small red ring above a large blue cross"."""
  parts = [f"a {' '.join(thing)}" for thing in things]
  return " ".join([parts[0], *itertools.chain(*zip(relations, parts[1:], strict=True))])


def draw(relations: tuple[str, ...], things: Sequence[Thing], rng: random.Random) -> np.ndarray:
  """Returns a picture of a scene, uint8 [16,16,3], each object at a random place."""
  picture = np.full((CANVAS, CANVAS, 3), BACKGROUND, np.uint8)
  for (top, left), thing in zip(LAYOUTS[relations], things, strict=True):
    width = WIDTHS[thing.size]
    first = (CELL - width) // 2
    top, left = top + first + int(rng.random() * 2), left + first + int(rng.random() * 2)
    region = picture[top : top + width, left : left + width]
    region[_mask(thing.shape, width)] = COLOURS[thing.colour]
  return picture


def _mask(shape: str, width: int) -> np.ndarray:
  """Returns which pixels of a square a shape covers, bool [width,width]."""
  middle = width // 2
  row, column = np.indices((width, width))
  vertical, horizontal = abs(row - middle), abs(column - middle)
  match shape:
    case "square":
      return np.ones((width, width), bool)
    case "ring":
      return np.maximum(vertical, horizontal) == middle
    case "cross":
      return np.minimum(vertical, horizontal) == 0
    case "diamond":
      return vertical + horizontal <= middle
  return horizontal <= row // 2  # a triangle


def _split_of(things: Sequence[Thing]) -> str:
  """Returns the split of a combination of objects, whatever their order and relation."""
  names = " ".join(sorted(" ".join(thing) for thing in things))
  digest = hashlib.blake2b(names.encode(), digest_size=4).digest()
  tenth = int.from_bytes(digest, "big") % 10
  return {0: "test", 1: "validation"}.get(tenth, "train")

"""A parser of the pictures of `tfx_jax.sources.scenes`; it shares no code with their renderer."""

import functools
from collections.abc import Iterator

import numpy as np

_SHAPES = {
  "large square": "####### ####### ####### ####### ####### ####### #######",
  "large ring": "####### #.....# #.....# #.....# #.....# #.....# #######",
  "large cross": "...#... ...#... ...#... ####### ...#... ...#... ...#...",
  "large diamond": "...#... ..###.. .#####. ####### .#####. ..###.. ...#...",
  "large triangle": "...#... ...#... ..###.. ..###.. .#####. .#####. #######",
  "small square": "##### ##### ##### ##### #####",
  "small ring": "##### #...# #...# #...# #####",
  "small cross": "..#.. ..#.. ##### ..#.. ..#..",
  "small diamond": "..#.. .###. ##### .###. ..#..",
  "small triangle": "..#.. ..#.. .###. .###. #####",
}
_NONE = ""
_COLOURS = {
  (255, 255, 255): _NONE,
  (220, 40, 40): "red",
  (40, 160, 60): "green",
  (50, 80, 220): "blue",
  (240, 200, 40): "yellow",
  (150, 60, 180): "purple",
  (30, 30, 30): "black",
}
_NEAR = 20
# Captions, and the top left corner of each object's cell of 8x8 pixels.
_ARRANGEMENTS = {
  "{}": ((4, 4),),
  "{} left of {}": ((4, 0), (4, 8)),
  "{} above {}": ((0, 4), (8, 4)),
  "{} left of {} above {}": ((4, 0), (0, 8), (8, 8)),
  "{} above {} left of {}": ((0, 4), (8, 0), (8, 8)),
}
# An object: its words, its first row and column, and its width.
_Found = tuple[str, int, int, int]


def describe_scene(picture: np.ndarray) -> str:
  """Returns the caption of a picture, uint8 [H,W,3]; '' for one that is not of this kind.

  Pixels have a colour if none of their values differs from its own by more than `_NEAR`: learned
  codes give colours back that one cannot tell from it.
  """
  names = np.full(picture.shape[:2], "?", object)
  for colour, name in _COLOURS.items():
    names[(np.abs(picture.astype(int) - colour) <= _NEAR).all(axis=2)] = name
  for found in _covers(names):
    if text := _say(found):
      return text
  return ""


def _covers(names: np.ndarray) -> Iterator[list[_Found]]:
  """Yields the ways in which shapes cover exactly the pixels that have a colour, [H,W] names."""
  coloured = np.argwhere(names != _NONE)
  if not len(coloured):
    yield []
    return
  row, column = coloured[0]
  colour = names[row, column]
  for words, mask in _masks():
    height, width = mask.shape
    left = column - int(np.flatnonzero(mask[0])[0])
    region = names[row : row + height, left : left + width] if left >= 0 else names[:0]
    if region.shape != mask.shape or not (region[mask] == colour).all():
      continue
    rest = names.copy()
    rest[row : row + height, left : left + width][mask] = _NONE
    size, shape = words.split()
    found = f"a {size} {colour} {shape}", int(row), left, width
    for others in _covers(rest):
      yield [found, *others]


def _say(found: list[_Found]) -> str:
  """Returns the caption of some objects; '' if they are not in the cells of one arrangement."""
  for form, cells in _ARRANGEMENTS.items():
    placed = [[words for words, *box in found if _is_within(box, *cell)] for cell in cells]
    if len(found) == len(cells) and all(map(len, placed)):
      return form.format(*(words for words, *_ in placed))
  return ""


def _is_within(box: list[int], top: int, left: int) -> bool:
  """Returns whether a box (first row and column, width) lies in the cell of 8x8 pixels there."""
  row, column, width = box
  return top <= row <= top + 8 - width and left <= column <= left + 8 - width


@functools.cache
def _masks() -> tuple[tuple[str, np.ndarray], ...]:
  """Returns each shape's words and pixels, bool [width,width]."""
  return tuple(
    (words, np.array([[pixel == "#" for pixel in row] for row in rows.split()]))
    for words, rows in _SHAPES.items()
  )

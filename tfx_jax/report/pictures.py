"""Pictures of several examples side by side, for people to look at."""

import io
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from tfx_jax.common.whole_file import write_whole

# Size of a picture and of a line of text, in inches; letters in a line under a picture.
_SIDE, _LINE, _LETTERS = 1.5, 0.16, 24
_COLUMNS = 6
# Values of an example by label: texts, and pictures, uint8 [H,W,C]; None is left out.
Row = Mapping[str, str | np.ndarray | None]


def gallery(texts: Sequence[str], pictures: Sequence[Sequence[np.ndarray]]) -> Image.Image:
  """Returns an image of texts with the pictures of each, for a notebook to show."""
  rows: list[Row] = [
    {"text": text, **{str(number): picture for number, picture in enumerate(found, 1)}}
    for text, found in zip(texts, pictures, strict=True)
  ]
  return Image.open(io.BytesIO(examples_png(rows)))


def draw_examples(path: str, rows: Sequence[Row]) -> None:
  """Draws examples to a file, see `examples_png`.

  Raises:
    OSError: if it cannot be written.
  """
  write_whole(path, examples_png(rows))


def examples_png(rows: Sequence[Row]) -> bytes:
  """Returns a PNG of examples: the pictures of each one side by side, its texts under them."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  pictures = [[(k, v) for k, v in row.items() if isinstance(v, np.ndarray)] for row in rows]
  each = max(1, *map(len, pictures))  # pictures of an example
  across = max(_COLUMNS // each, 1)  # examples in a line
  lines = [
    [
      line
      for label, text in row.items()
      if isinstance(text, str)
      for line in textwrap.wrap(f"{label}: {text}", _LETTERS * each)
    ]
    for row in rows
  ]
  down = -(-len(rows) // across)
  height = _SIDE + 0.3 + _LINE * max(map(len, lines), default=0)
  figure = Figure(figsize=(_SIDE * each * across + 0.2, height * down))
  FigureCanvasAgg(figure)
  for number, (images, text) in enumerate(zip(pictures, lines, strict=True)):
    top = 1 - (number // across) / down
    for place, (label, image) in enumerate(images):
      column = (number % across) * each + place
      area = (column / (each * across) + 0.01, top - (_SIDE + 0.2) / height / down)
      size = (0.98 / (each * across) - 0.01, (_SIDE - 0.1) / height / down)
      axes = figure.add_axes((*area, *size))
      axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="none")
      axes.set_title(label, fontsize=7, pad=2)
      axes.set_xticks([])
      axes.set_yticks([])
    figure.text(
      (number % across) / across + 0.01,
      top - (_SIDE + 0.25) / height / down,
      "\n".join(text),
      fontsize=7,
      va="top",
      parse_math=False,
    )
  content = io.BytesIO()
  figure.savefig(content, format="png", dpi=110)
  return content.getvalue()

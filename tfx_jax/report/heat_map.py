"""Draws the attention weights from each token of a target to the tokens of its source."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfx_jax.common.whole_file import whole_file
from tfx_jax.errors import UserError

if TYPE_CHECKING:
  from matplotlib.figure import Figure

# Width of a cell and of a letter, in inches. The picture grows with the number of cells.
_CELL, _LETTER = 0.3, 0.085


def make_heat_map(source: Sequence[str], target: Sequence[str], weights: np.ndarray) -> "Figure":
  """Returns a heat map of weights, with the source from left to right and the target downwards.

  Args:
    source: labels of the S columns.
    target: labels of the T rows.
    weights: [T,S], from 0 to 1.
  """
  # Not pyplot, which keeps global state and chooses a window system.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.colors import LinearSegmentedColormap
  from matplotlib.figure import Figure

  longest = [_LETTER * max(map(len, names), default=0) for names in (source, target)]
  width, height = _CELL * len(source) + longest[1] + 1.1, _CELL * len(target) + longest[0] + 0.6
  size = max(width, 2.5), max(height, 2.0)
  figure = Figure(figsize=size, dpi=160, layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  blues = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#3b6fb6", "#14315c"])
  image = axes.imshow(weights, cmap=blues, vmin=0, vmax=1, aspect="equal", interpolation="none")
  axes.xaxis.tick_top()
  axes.xaxis.set_label_position("top")
  axes.set_xlabel("source", fontsize=9)
  axes.set_ylabel("target", fontsize=9)
  axes.set_xticks(range(len(source)), source, rotation=90, fontsize=8.5, parse_math=False)
  axes.set_yticks(range(len(target)), target, fontsize=8.5, parse_math=False)
  axes.set_xticks(np.arange(len(source) + 1) - 0.5, minor=True)
  axes.set_yticks(np.arange(len(target) + 1) - 0.5, minor=True)
  axes.grid(which="minor", color="#e6e6e6", linewidth=0.8)
  axes.tick_params(which="both", length=0)
  axes.spines[:].set_color("#bbbbbb")
  bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=16, pad=0.02, ticks=[0, 0.5, 1])
  bar.ax.tick_params(labelsize=8.5, color="#bbbbbb")
  bar.ax.spines["outline"].set_edgecolor("#bbbbbb")
  return figure


def draw_heat_map(
  path: str, source: Sequence[str], target: Sequence[str], weights: np.ndarray
) -> None:
  """Draws a heat map to a file.

  Args:
    path: path of the picture; its extension is the format: png, pdf, svg …
    source: see `make_heat_map`.
    target: see `make_heat_map`.
    weights: see `make_heat_map`.

  Raises:
    UserError: if the picture cannot be written.
  """
  figure = make_heat_map(source, target, weights)
  ending = os.path.splitext(path)[1].removeprefix(".") or "png"
  try:
    with whole_file(path) as file:
      figure.savefig(file, format=ending)
  except (OSError, ValueError) as error:
    reason = error.strerror if isinstance(error, OSError) else error
    raise UserError(f"cannot draw attention to {path}: {reason}") from error

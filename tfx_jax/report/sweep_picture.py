"""Draws the results of a sweep: a line of points for each row."""

from collections.abc import Sequence
from typing import Any

from tfx_jax.common.whole_file import whole_file
from tfx_jax.errors import UserError
from tfx_jax.sweep.results import Row

_BLUE, _GREY = "#3b6fb6", "#5b6470"


def draw_sweep(rows: Sequence[Row], metric: str, path: str, title: str) -> str | None:
  """Draws a metric of every row: its runs, their mean, and the standard deviation.

  Args:
    rows: from top to bottom.
    metric: the figure or metric to draw.
    path: of the PNG file.
    title: above the picture.

  Returns:
    the path, or None where no run has that metric yet.

  Raises:
    UserError: the file cannot be written.
  """
  if not any(row.spread(metric) for row in rows):
    return None
  figure = _draw(rows, metric, title)
  try:
    with whole_file(path) as file:
      figure.savefig(file, format="png", dpi=160)
  except OSError as error:
    raise UserError(f"cannot draw {path}: {error.strerror or error}") from error
  return path


def _draw(rows: Sequence[Row], metric: str, title: str) -> Any:
  # The object interface: pyplot would keep global state and choose a window system.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(9.4, 1.5 + 0.42 * len(rows)), layout="constrained")
  FigureCanvasAgg(figure)
  figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
  axes = figure.add_subplot()
  for height, row in enumerate(rows):
    spread = row.spread(metric)
    if not spread:
      axes.annotate(
        row.status,
        (0.01, height),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=9,
        color=_GREY,
      )
      continue
    values = [run.metrics[metric] for run in row.finished if metric in run.metrics]
    if spread.count > 1:
      axes.plot(values, [height] * len(values), "o", color=_BLUE, alpha=0.35, markersize=4)
    axes.errorbar(
      spread.mean,
      height,
      xerr=spread.deviation,
      fmt="o",
      color=_BLUE,
      markersize=7,
      capsize=4,
      linewidth=1.4,
    )
    axes.annotate(
      f"{spread.mean:#.4g}",
      (spread.mean, height),
      xytext=(0, 7),
      textcoords="offset points",
      ha="center",
      fontsize=8.5,
    )
  axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=9, parse_math=False)
  axes.set_ylim(len(rows) - 0.4, -0.7)
  axes.margins(x=0.08)
  note = "mean, standard deviation and runs" if any(len(row.runs) > 1 for row in rows) else ""
  axes.set_xlabel(metric, fontsize=9)
  axes.set_title(note, fontsize=9, loc="right", color=_GREY)
  axes.tick_params(labelsize=8.5, color="#bbbbbb")
  axes.grid(color="#e6e6e6", linewidth=0.8)
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color("#bbbbbb")
  return figure

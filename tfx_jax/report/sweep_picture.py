"""Draws the results of a sweep: a line of points per row."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfx_jax.common.whole_file import whole_file
from tfx_jax.errors import UserError

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_BLUE, _GREY = "#3b6fb6", "#5b6470"


class SweepRow(NamedTuple):
  """The runs of a sweep that only differ in their seed.

  Attributes:
    label: the swept settings.
    status: status of the runs, shown if no value is known.
    values: the metric of each finished run.
  """

  label: str
  status: str
  values: Sequence[float]


def draw_sweep(rows: Sequence[SweepRow], metric: str, path: str, title: str) -> str | None:
  """Draws a metric of each row: its runs, their mean, and the standard deviation.

  Args:
    rows: the rows, from top to bottom.
    metric: name of the metric.
    path: path of the PNG file.
    title: title above the picture.

  Returns:
    The path, or None if no run has a value yet.

  Raises:
    UserError: if the file cannot be written.
  """
  if not any(row.values for row in rows):
    return None
  figure = _draw(rows, metric, title)
  try:
    with whole_file(path) as file:
      figure.savefig(file, format="png", dpi=160)
  except OSError as error:
    raise UserError(f"cannot draw {path}: {error.strerror or error}") from error
  return path


def _draw(rows: Sequence[SweepRow], metric: str, title: str) -> "Figure":
  # Not pyplot, which keeps global state and chooses a window system.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(9.4, 1.5 + 0.42 * len(rows)), layout="constrained")
  FigureCanvasAgg(figure)
  figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
  axes = figure.add_subplot()
  for height, row in enumerate(rows):
    if not row.values:
      axes.annotate(
        row.status,
        (0.01, height),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=9,
        color=_GREY,
      )
      continue
    count, mean = len(row.values), statistics.fmean(row.values)
    if count > 1:
      axes.plot(row.values, [height] * count, "o", color=_BLUE, alpha=0.35, markersize=4)
    axes.errorbar(
      mean,
      height,
      xerr=statistics.stdev(row.values) if count > 1 else None,
      fmt="o",
      color=_BLUE,
      markersize=7,
      capsize=4,
      linewidth=1.4,
    )
    axes.annotate(
      f"{mean:#.4g}",
      (mean, height),
      xytext=(0, 7),
      textcoords="offset points",
      ha="center",
      fontsize=8.5,
    )
  axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=9, parse_math=False)
  axes.set_ylim(len(rows) - 0.4, -0.7)
  axes.margins(x=0.08)
  note = "mean, standard deviation and runs" if any(len(row.values) > 1 for row in rows) else ""
  axes.set_xlabel(metric, fontsize=9)
  axes.set_title(note, fontsize=9, loc="right", color=_GREY)
  axes.tick_params(labelsize=8.5, color="#bbbbbb")
  axes.grid(color="#e6e6e6", linewidth=0.8)
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color("#bbbbbb")
  return figure

"""Draws a run's metrics.jsonl as one picture of small panels."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.whole_file import whole_file
from tfx_jax.errors import UserError
from tfx_jax.report.records import is_number, read_metrics

_SCORES = {"bleu": "BLEU", "chrf": "chrF", "exact_match": "exact match %"}
_TEST_METRICS = _SCORES | {"loss": "loss", "perplexity": "perplexity"}
_BLUE, _ORANGE, _GREEN, _GREY = "#3b6fb6", "#d9622b", "#3a8f5c", "#5b6470"

if TYPE_CHECKING:
  from matplotlib.figure import Figure


class _Curve(NamedTuple):
  steps: Sequence[float]
  values: Sequence[float]
  style: Mapping[str, str | float]


class _Panel(NamedTuple):
  title: str
  unit: str
  curves: Sequence[_Curve]
  tick: str = "{x:g}"
  from_zero: bool = True


def draw_curves(workdir: str) -> str | None:
  """Draws WORKDIR/curves.png: loss, text metrics, learning rate and speed over steps.

  Args:
    workdir: working directory of the run; damaged lines of its metrics.jsonl are ignored.

  Returns:
    The picture's path, or None if there is nothing to draw yet.

  Raises:
    UserError: if the workdir cannot be read or written.
  """
  try:
    lines = list(read_metrics(workdir))
    panels = [panel for panel in _panels(lines) if panel.curves]
    if not panels:
      return None
    figure = _draw(panels, os.path.basename(os.path.abspath(workdir)), _test_scores(lines))
    path = os.path.join(workdir, "curves.png")
    with whole_file(path) as file:
      figure.savefig(file, format="png", dpi=160)
  except OSError as e:
    raise UserError(
      f"cannot draw curves in workdir {workdir}: {e.strerror or e}; free its disk or its rights"
    ) from e
  return path


def _curves(
  lines: Sequence[JsonObject], split: str, name: str, **style: str | float
) -> list[_Curve]:
  """Returns the curve of a metric, or none if no line of the split has it."""
  chosen = [r for r in lines if r.get("split") == split and is_number(r.get(name))]
  return [_Curve([r["step"] for r in chosen], [r[name] for r in chosen], style)] if chosen else []


def _panels(lines: Sequence[JsonObject]) -> list[_Panel]:
  dots = {"marker": "o", "markersize": 3.5}
  loss = _curves(lines, "validation", "loss", label="validation", color=_ORANGE, **dots)
  best = []
  if loss:
    value, step = min(zip(loss[0].values, loss[0].steps, strict=True))
    label = f"best: {value:.4g} at {step:,}"
    star = {"marker": "*", "markersize": 13, "markeredgecolor": "white", "linestyle": "none"}
    best = [_Curve([step], [value], {"label": label, "color": _ORANGE, "zorder": 3} | star)]
  scores = [
    curve
    for (name, label), color in zip(_SCORES.items(), (_BLUE, _GREEN, _ORANGE), strict=True)
    for curve in _curves(lines, "validation", name, label=label, color=color, **dots)
  ]
  train_loss = _curves(lines, "train", "loss", label="train", color=_BLUE)
  rate = _curves(lines, "train", "learning_rate", color=_GREY)
  speed = _curves(lines, "train", "tokens_per_second", color=_GREY)
  return [
    _Panel("Loss", "nats per token", train_loss + loss + best, from_zero=False),
    _Panel("Validation scores", "0 to 100", scores),
    _Panel("Learning rate", "", rate),
    _Panel("Speed", "target tokens per second", speed, "{x:,.0f}"),
  ]


def _test_scores(lines: Sequence[JsonObject]) -> str:
  """Returns the metrics of the test split's last line, or an empty text."""
  test = [line for line in lines if line.get("split") == "test"]
  if not test:
    return ""
  known = _TEST_METRICS.items()
  scores = [f"{label} {test[-1][n]:.4g}" for n, label in known if is_number(test[-1].get(n))]
  return f"test, step {test[-1]['step']:,}:  " + "   ".join(scores)


def _draw(panels: Sequence[_Panel], title: str, subtitle: str) -> "Figure":
  # Not pyplot, which keeps global state and chooses a window system.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure
  from matplotlib.layout_engine import ConstrainedLayoutEngine
  from matplotlib.ticker import MaxNLocator, StrMethodFormatter

  columns = min(len(panels), 2)
  rows = math.ceil(len(panels) / columns)
  layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
  figure = Figure(figsize=(9.4, 2.7 * rows + 0.6), layout=layout)
  FigureCanvasAgg(figure)
  figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
  if subtitle:
    figure.supxlabel(subtitle, fontsize=10)
  # On the line of the title, so that it hides no curve.
  legend = {
    "loc": "lower right",
    "bbox_to_anchor": (1.02, 0.985),
    "ncols": 3,
    "fontsize": 8.5,
    "frameon": False,
    "handlelength": 1.3,
    "handletextpad": 0.5,
    "columnspacing": 1.1,
  }
  last_step = max(max(curve.steps) for panel in panels for curve in panel.curves)
  for number, panel in enumerate(panels, 1):
    axes = figure.add_subplot(rows, columns, number)
    for curve in panel.curves:
      axes.plot(curve.steps, curve.values, **{"linewidth": 1.4, **curve.style})
    axes.set_title(panel.title, fontsize=11, loc="left")
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel(panel.unit, fontsize=9)
    axes.tick_params(labelsize=8.5, color="#bbbbbb")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter(panel.tick))
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.set_xlim(0, 1.02 * max(last_step, 1))
    if panel.from_zero:
      axes.set_ylim(bottom=0)
    if any("label" in curve.style for curve in panel.curves):
      axes.legend(**legend)
  return figure

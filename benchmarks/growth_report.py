"""Slopes, a table and a picture of measurements along axes."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfx_jax.common.whole_file import write_whole

# Curves to fit and draw: title, measured quantity, expected quantity.
KINDS = (
  ("seconds", "seconds", "expected_flops"),
  ("MB, planned by the compiler", "program_mb", "expected_mb"),
  ("MB, seen of the process", "peak_mb", "expected_mb"),
)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
  """Returns the exponent k of y = c x^k by least squares on logarithms; NaN below two points."""
  if len(x) < 2 or min(y) <= 0:
    return math.nan
  return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def curves(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns `x`, `measured`, `expected` and both slopes for each axis and kind of cost."""
  fitted = []
  for what, axis in dict.fromkeys((f["what"], f["axis"]) for f in results):
    points = [f for f in results if (f["what"], f["axis"]) == (what, axis)]
    for title, measured, expected in KINDS:
      if all(measured in f and expected in f for f in points):
        x = [f["value"] for f in points]
        curve = {"what": what, "axis": axis, "kind": title, "x": x}
        curve |= {"measured": [f[measured] for f in points]}
        curve |= {"expected": [f[expected] for f in points]}
        curve |= {f"{name}_slope": slope(x, curve[name]) for name in ("measured", "expected")}
        fitted.append(curve)
  return fitted


def table(fitted: Sequence[Mapping[str, Any]]) -> str:
  """Returns a table in Markdown with a line for each curve."""
  lines = [
    "| cost | along | sizes | measured | slope | expected slope |",
    "|---|---|---|---|---:|---:|",
  ]
  for curve in fitted:
    sizes, measured = (", ".join(f"{x:,.4g}" for x in curve[key]) for key in ("x", "measured"))
    slopes = (f"{curve[key]:.2f}" for key in ("measured_slope", "expected_slope"))
    cells = (f"{curve['what']}, {curve['kind']}", curve["axis"], sizes, measured, *slopes)
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def draw(path: str, fitted: Sequence[Mapping[str, Any]]) -> None:
  """Draws a panel per curve; the expected slope is a line through the middle of measurements."""
  from matplotlib import ticker
  from matplotlib.figure import Figure

  columns = min(len(fitted), 4)
  rows = -(-len(fitted) // columns)
  figure = Figure(figsize=(3.4 * columns, 2.8 * rows), layout="constrained")
  panels = figure.subplots(rows, columns, squeeze=False).ravel()
  for panel, curve in zip(panels, fitted, strict=False):
    x, measured, expected = (np.array(curve[key], float) for key in ("x", "measured", "expected"))
    with np.errstate(divide="ignore"):
      scale = np.exp(np.mean(np.log(measured) - np.log(expected)))
    panel.loglog(x, scale * expected, color="gray", label=f"slope {curve['expected_slope']:.2f}")
    panel.loglog(x, measured, "o", color="C0", label=f"slope {curve['measured_slope']:.2f}")
    panel.set(xlabel=curve["axis"], title=f"{curve['what']}: {curve['kind']}")
    panel.title.set_fontsize(9)
    panel.set_xticks(x, [f"{value:g}" for value in x])
    panel.xaxis.set_minor_locator(ticker.NullLocator())
    panel.legend(fontsize=8)
  for panel in panels[len(fitted) :]:
    panel.set_axis_off()
  figure.savefig(path, dpi=120)


def write(output: str, results: Sequence[Mapping[str, Any]]) -> None:
  """Writes OUTPUT.json, OUTPUT.md and OUTPUT.png."""
  fitted = curves(results)
  write_whole(f"{output}.json", json.dumps({"results": results, "curves": fitted}, indent=1))
  write_whole(f"{output}.md", table(fitted))
  draw(f"{output}.png", fitted)

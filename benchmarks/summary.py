"""From the figures of rounds to one line a system, and one line of ratios."""

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

# Processors that others keep busy, above which timings mean little.
QUIET = 0.1


def line(
  rounds: Sequence[Mapping[str, Any]], tokens: str, flops: Sequence[float], peak: float
) -> dict[str, Any]:
  """What a system did, over its rounds.

  Args:
    rounds: figures, as `rounds.interleave` gives them.
    tokens: which of them is the number of real tokens.
    flops: operations of each round.
    peak: of the machine, in operations a second; 0: not known.

  Returns:
    medians over rounds, with the least and the greatest of what is timed: `round_seconds`,
    `tokens_per_second`, `flops_per_second`, `share_of_peak`; `processor_seconds` of a round,
    `other_cores` kept busy by others, and the `load` now.
  """
  seconds = [figures["seconds"] for figures in rounds]
  rates = [figures[tokens] / s for figures, s in zip(rounds, seconds, strict=True)]
  achieved = statistics.median(f / s for f, s in zip(flops, seconds, strict=True))
  others = [figures["other_cores"] for figures in rounds if figures["other_cores"] is not None]
  return {
    "rounds": len(rounds),
    "round_seconds": rounded(statistics.median(seconds)),
    "round_seconds_range": [rounded(min(seconds)), rounded(max(seconds))],
    f"{tokens}_per_second": rounded(statistics.median(rates)),
    f"{tokens}_per_second_range": [rounded(min(rates)), rounded(max(rates))],
    "flops_per_second": rounded(achieved),
    "share_of_peak": rounded(achieved / peak) if peak else None,
    "processor_seconds": rounded(statistics.median(f["processor_seconds"] for f in rounds)),
    "other_cores": max(others, default=None),
    "load": rounded(os.getloadavg()[0]),
  }


def ratios(
  figures: Mapping[str, Sequence[Mapping[str, Any]]], tokens: str
) -> dict[str, dict[str, float]]:
  """How many times as fast as each other system the first is: median, least and greatest.

  A ratio is of two rounds that followed each other.
  """
  (_, ours), *others = figures.items()
  found = {}
  for name, theirs in others:
    each = [
      (a[tokens] / a["seconds"]) / (b[tokens] / b["seconds"])
      for a, b in zip(ours, theirs, strict=True)
    ]
    found[name] = {
      "median": rounded(statistics.median(each)),
      "range": [rounded(min(each)), rounded(max(each))],
    }
  return found


def warning(lines: Sequence[Mapping[str, Any]]) -> str:
  """What to tell of a machine that was not idle; nothing if it was."""
  worst = max((line["other_cores"] or 0.0 for line in lines), default=0.0)
  if worst <= QUIET:
    return ""
  return f"not idle: other programs kept up to {worst} processors busy; these timings mean little"


def rounded(x: float, digits: int = 4) -> float:
  """To so many significant digits."""
  return float(f"{x:.{digits}g}")

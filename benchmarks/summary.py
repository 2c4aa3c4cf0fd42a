"""Summary of rounds: one line per system, and one line of ratios."""

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

# Number of processors kept busy by other programs above which timings are unreliable.
QUIET = 0.1


def line(
  rounds: Sequence[Mapping[str, Any]], tokens: str, flops: Sequence[float], peak: float
) -> dict[str, Any]:
  """Summarizes a system's rounds.

  Args:
    rounds: results of the rounds, see `rounds.interleave`.
    tokens: key of the number of real tokens.
    flops: operations of each round.
    peak: the machine's peak in FLOP/s; 0 if unknown.

  Returns:
    Medians over rounds, with minimum and maximum for timings: `round_seconds`,
    `tokens_per_second`, `flops_per_second`, `share_of_peak`; `processor_seconds` of a round,
    `other_cores` that other programs kept busy, and the current `load`.
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
  figures: Mapping[str, Sequence[Mapping[str, Any]]], tokens: str = ""
) -> dict[str, dict[str, Any]]:
  """Returns the speed of the first system relative to each other one: median, minimum, maximum.

  A ratio compares two successive rounds.

  Args:
    figures: results of the rounds, by system.
    tokens: key of the number of real tokens; "" to compare rounds per second.
  """
  (_, ours), *others = figures.items()
  found = {}
  for name, theirs in others:
    each = [_speed(a, tokens) / _speed(b, tokens) for a, b in zip(ours, theirs, strict=True)]
    found[name] = {
      "median": rounded(statistics.median(each)),
      "range": [rounded(min(each)), rounded(max(each))],
    }
  return found


def _speed(figures: Mapping[str, Any], tokens: str) -> float:
  """Returns tokens, or else rounds, per second."""
  return (figures[tokens] if tokens else 1) / figures["seconds"]


def warning(lines: Sequence[Mapping[str, Any]]) -> str:
  """Returns a warning if the machine was not idle, else an empty text."""
  worst = max((line["other_cores"] or 0.0 for line in lines), default=0.0)
  if worst <= QUIET:
    return ""
  return f"not idle: other programs kept up to {worst} processors busy; these timings mean little"


def rounded(x: float, digits: int = 4) -> float:
  """Rounds to a number of significant digits."""
  return float(f"{x:.{digits}g}")

"""What the runs of a sweep came to: runs that differ in their seed only are one row."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Figures of every run, with the titles of their columns and how they are written.
COLUMNS = {
  "parameters": ("parameters", "{:,.0f}"),
  "steps": ("steps", "{:,.0f}"),
  "tokens": ("target tokens", "{:,.0f}"),
  "seconds": ("wall time, s", "{:,.0f}"),
  "best_validation_loss": ("best validation loss", "{:.4f}"),
}


@dataclasses.dataclass(frozen=True)
class Result:
  """What one run came to.

  Attributes:
    settings: the values of the keys that are swept.
    status: 'finished', 'failed' or 'unfinished'.
    error: why it failed.
    figures: those of COLUMNS that are known: parameters, steps of the last checkpoint, real target
      tokens trained on, seconds of training, best loss of a validation in nats per token.
    metrics: of the final evaluation.
  """

  settings: Mapping[str, str]
  status: str
  error: str = ""
  figures: Mapping[str, float] = dataclasses.field(default_factory=dict)
  metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Spread(NamedTuple):
  """Mean and standard deviation (n - 1) of a figure over `count` runs; no deviation of one."""

  mean: float
  deviation: float | None
  count: int


@dataclasses.dataclass(frozen=True)
class Row:
  """The runs that have the same settings but for the seed.

  Attributes:
    label: the settings.
    runs: in the order they were asked for.
  """

  label: str
  runs: Sequence[Result]

  @property
  def finished(self) -> list[Result]:
    """The runs that the figures are of."""
    return [run for run in self.runs if run.status == "finished"]

  @property
  def status(self) -> str:
    """'finished', or how many are not."""
    counts = {
      status: sum(run.status == status for run in self.runs)
      for status in ("finished", "failed", "unfinished")
    }
    told = [(status, count) for status, count in counts.items() if count]
    if len(told) == 1:
      return told[0][0]
    return ", ".join(f"{count} {status}" for status, count in told)

  def spread(self, name: str) -> Spread | None:
    """Of a figure or metric over the finished runs; where none is, over those there are."""
    values = [
      figures[name]
      for run in self.finished or self.runs
      if name in (figures := {**run.figures, **run.metrics})
    ]
    if not values:
      return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


def make_rows(results: Sequence[Result]) -> list[Row]:
  """The rows, in the order of their first runs."""
  groups: dict[str, list[Result]] = {}
  for result in results:
    settings = [f"{key}={value}" for key, value in result.settings.items() if key != "seed"]
    groups.setdefault(" ".join(settings) or "as configured", []).append(result)
  return [Row(label, runs) for label, runs in groups.items()]


def metric_names(results: Sequence[Result]) -> list[str]:
  """All metrics that a run has, those of kinds of examples ('NAME/KIND') left out."""
  names = dict.fromkeys(name for result in results for name in result.metrics)
  return [name for name in names if "/" not in name]


def as_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
  """Header and cells: settings, seeds (where there are several), status, figures and metrics."""
  runs = [run for row in rows for run in row.runs]
  columns = COLUMNS | {
    name: ("final loss", "{:.4f}") if name == "loss" else (name, "{:.2f}")
    for name in metric_names(runs)
  }
  with_seeds = any("seed" in run.settings for run in runs)
  header = [
    "settings",
    *["seeds"] * with_seeds,
    "status",
    *(title for title, _ in columns.values()),
  ]
  cells = []
  for row in rows:
    seeds = [str(len(row.finished))] * with_seeds
    figures = (_cell(row.spread(name), form) for name, (_, form) in columns.items())
    cells.append([row.label, *seeds, row.status, *figures])
  return header, cells


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
  """The rows with all figures, and the runs they are of."""
  described = []
  for row in rows:
    names = {name for run in row.runs for name in (*run.figures, *run.metrics)}
    figures = {name: spread._asdict() for name in sorted(names) if (spread := row.spread(name))}
    runs = [dataclasses.asdict(run) for run in row.runs]
    described.append(
      {"settings": row.label, "status": row.status, "figures": figures, "runs": runs}
    )
  return described


def _cell(spread: Spread | None, form: str) -> str:
  if spread is None:
    return "-"
  mean = form.format(spread.mean)
  # What is the same in all runs needs no deviation to say so.
  return f"{mean} ± {form.format(spread.deviation)}" if spread.deviation else mean

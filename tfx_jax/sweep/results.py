"""Results of the runs of a sweep; runs that differ only in the seed are one row."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfx_jax.common.json_object import JsonObject

# Totals of a run: title of the column, and format.
COLUMNS = {
  "parameters": ("parameters", "{:,.0f}"),
  "steps": ("steps", "{:,.0f}"),
  "tokens": ("target tokens", "{:,.0f}"),
  "seconds": ("wall time, s", "{:,.0f}"),
  "best_validation_loss": ("best validation loss", "{:.4f}"),
}


@dataclasses.dataclass(frozen=True)
class Result:
  """Result of one run.

  Attributes:
    settings: value of each key that is swept.
    status: 'finished', 'failed' or 'unfinished'.
    error: message of the error, if it failed.
    totals: those of COLUMNS that are known: parameters, steps up to the last checkpoint, target
      tokens trained on without padding, seconds of training, best validation loss (nats per token).
    metrics: metrics of the final evaluation.
  """

  settings: Mapping[str, str]
  status: str
  error: str = ""
  totals: Mapping[str, float] = dataclasses.field(default_factory=dict)
  metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Spread(NamedTuple):
  """Mean and standard deviation (n - 1) over `count` runs; the deviation of one run is None."""

  mean: float
  deviation: float | None
  count: int


@dataclasses.dataclass(frozen=True)
class Row:
  """Runs with the same settings apart from the seed.

  Attributes:
    label: the settings as text.
    runs: results, in the order of the sweep.
  """

  label: str
  runs: Sequence[Result]

  @property
  def finished(self) -> list[Result]:
    """Runs that have finished."""
    return [run for run in self.runs if run.status == "finished"]

  @property
  def status(self) -> str:
    """'finished', or the number of runs with each status."""
    counts = {
      status: sum(run.status == status for run in self.runs)
      for status in ("finished", "failed", "unfinished")
    }
    present = [(status, count) for status, count in counts.items() if count]
    if len(present) == 1:
      return present[0][0]
    return ", ".join(f"{count} {status}" for status, count in present)

  def spread(self, name: str) -> Spread | None:
    """Returns the spread of a total or metric over the finished runs, or over all if none is."""
    values = [
      numbers[name]
      for run in self.finished or self.runs
      if name in (numbers := {**run.totals, **run.metrics})
    ]
    if not values:
      return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


def make_rows(results: Sequence[Result]) -> list[Row]:
  """Groups results into rows, in the order of their first runs."""
  groups: dict[str, list[Result]] = {}
  for result in results:
    settings = [f"{key}={value}" for key, value in result.settings.items() if key != "seed"]
    groups.setdefault(" ".join(settings), []).append(result)
  return [Row(label or _seeds(runs), runs) for label, runs in groups.items()]


def _seeds(runs: Sequence[Result]) -> str:
  """Returns the label of runs of which only the seed is swept."""
  return f"seed={','.join(run.settings['seed'] for run in runs)}"


def metric_names(results: Sequence[Result]) -> list[str]:
  """Returns the names of all metrics, without those of kinds of examples ('NAME/KIND')."""
  names = dict.fromkeys(name for result in results for name in result.metrics)
  return [name for name in names if "/" not in name]


def as_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
  """Returns header and cells: settings, seeds (if they are swept), status, totals and metrics."""
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
    numbers = (_cell(row.spread(name), form) for name, (_, form) in columns.items())
    cells.append([row.label, *seeds, row.status, *numbers])
  return header, cells


def as_json(rows: Sequence[Row]) -> list[JsonObject]:
  """Returns the rows with the spread of each total and metric, and with their runs."""
  described = []
  for row in rows:
    names = {name for run in row.runs for name in (*run.totals, *run.metrics)}
    spreads = {name: spread._asdict() for name in sorted(names) if (spread := row.spread(name))}
    runs = [dataclasses.asdict(run) for run in row.runs]
    described.append(
      {"settings": row.label, "status": row.status, "spreads": spreads, "runs": runs}
    )
  return described


def _cell(spread: Spread | None, form: str) -> str:
  if spread is None:
    return "-"
  mean = form.format(spread.mean)
  # A deviation of 0 is left out.
  return f"{mean} ± {form.format(spread.deviation)}" if spread.deviation else mean

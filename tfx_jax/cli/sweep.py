"""Trains a run for every combination of some settings and compares the results."""

import contextlib
import json
import os
import sys
from collections.abc import Sequence

from tfx_jax.builders.validation import validate
from tfx_jax.cli.console import say, show, table
from tfx_jax.cli.train import check, train
from tfx_jax.cli.workdir import check_workdir, final_metrics, held, read_counters, read_log
from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.whole_file import write_whole
from tfx_jax.config.files import recorded_config
from tfx_jax.errors import UserError
from tfx_jax.metrics.perplexity import LOSS_METRICS
from tfx_jax.report.records import is_number
from tfx_jax.report.sweep_picture import SweepRow, draw_sweep
from tfx_jax.sweep.grid import Cell
from tfx_jax.sweep.results import Result, Row, as_json, as_table, make_rows, metric_names


def sweep(cells: Sequence[Cell], workdir: str) -> int:
  """Trains the run of each cell in a folder of its own; a failed run does not stop the others.

  After every run, WORKDIR/sweep.md, sweep.json and sweep.png have the results so far. These are
  read from the folders of the runs, so that the same command resumes a sweep that was stopped.

  Raises:
    UserError: before the first run, if a configuration or a folder cannot be used.
  """
  if recorded_config(workdir) is not None:
    raise UserError(f"{workdir} holds a run: choose another --workdir for the sweep")
  folders = [os.path.join(workdir, cell.name) for cell in cells]
  for cell, folder in zip(cells, folders, strict=True):
    validate(cell.config)
    check(cell.config)
    check_workdir(cell.config, folder)
  with held(workdir):
    return _sweep(cells, folders, workdir)


def _sweep(cells: Sequence[Cell], folders: Sequence[str], workdir: str) -> int:
  results = [_result(cell, folder) for cell, folder in zip(cells, folders, strict=True)]
  for number, (cell, folder) in enumerate(zip(cells, folders, strict=True)):
    say(f"run {number + 1} of {len(cells)}: {cell.name}")
    code, error = 0, ""
    try:
      with contextlib.redirect_stdout(sys.stderr):  # only the table of the sweep goes to stdout
        code = train(cell.config, folder)
    except UserError as failure:
      error = str(failure)
      say(f"failed: {error}")
    results[number] = _result(cell, folder, error)
    rows = make_rows(results)
    text = _text(rows)
    _keep(rows, text, workdir)
    if code:  # stopped by a signal
      break
  say(f"written to {workdir}: sweep.md, sweep.json and sweep.png")
  show(text)
  return code


def _result(cell: Cell, folder: str, error: str = "") -> Result:
  """Returns the result of a run from its folder, and from `error`, which is not recorded there."""
  step, counters = read_counters(folder)
  final = final_metrics(cell.config, folder, step, counters)
  log = read_log(folder)
  totals: dict[str, float] = {}
  if final and is_number(final.get("parameters")):
    totals["parameters"] = final["parameters"]
  if step:
    logged = (
      line["tokens"]
      for line in log
      if line["split"] == "train" and line["step"] <= step and is_number(line.get("tokens"))
    )
    # Tokens since the last line are in the checkpoint.
    totals |= {"steps": step, "tokens": sum(logged) + counters.window[2]}
    totals["seconds"] = counters.seconds
  losses = [
    line["loss"]
    for line in log
    if line["split"] == "validation"
    and "checkpoint_step" not in line
    and is_number(line.get("loss"))
  ]
  if losses:
    totals["best_validation_loss"] = min(losses)
  status = "failed" if error else "finished" if final else "unfinished"
  return Result(cell.settings, status, error, totals, _metrics(final or {}))


def _metrics(final: JsonObject) -> dict[str, float]:
  """Returns the metrics in the line of a final evaluation."""
  others = ("step", "checkpoint_step", "parameters")
  return {
    name: float(value)
    for name, value in final.items()
    if isinstance(value, int | float) and name not in others
  }


def _text(rows: Sequence[Row]) -> str:
  """Returns the table, followed by the errors of failed runs."""
  failures = [
    f"{' '.join(f'{key}={value}' for key, value in run.settings.items())}: {run.error}"
    for row in rows
    for run in row.runs
    if run.error
  ]
  return "\n\n".join([table(*as_table(rows)), *failures])


def _keep(rows: Sequence[Row], text: str, workdir: str) -> None:
  try:
    for name, content in (
      ("sweep.md", text),
      ("sweep.json", json.dumps(as_json(rows), indent=1, ensure_ascii=False)),
    ):
      write_whole(os.path.join(workdir, name), content + "\n")
  except OSError as error:
    raise UserError(f"cannot write to workdir {workdir}: {error.strerror}") from error
  names = metric_names([run for row in rows for run in row.runs])
  if names:
    main = next((name for name in names if name not in LOSS_METRICS), names[0])
    title = os.path.basename(os.path.abspath(workdir))
    drawn = [
      SweepRow(row.label, row.status, [x.metrics[main] for x in row.finished if main in x.metrics])
      for row in rows
    ]
    draw_sweep(drawn, main, os.path.join(workdir, "sweep.png"), title)

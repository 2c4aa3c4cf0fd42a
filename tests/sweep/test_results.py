import json

import numpy as np

from tfx_jax.sweep.results import Result, as_json, as_table, make_rows, metric_names

BLEU = [30.0, 31.5, 34.0]


def finished(bleu=30.0, **settings):
  totals = {"parameters": 6016, "steps": 12, "tokens": 2302.0, "seconds": 75.4,
             "best_validation_loss": 2.0}  # fmt: skip
  metrics = {"loss": 2.5, "bleu": bleu, "exact_match/date": 1.0}
  return Result(settings, "finished", totals=totals, metrics=metrics)


def test_runs_that_differ_in_the_seed_only_are_one_row():
  results = [finished(bleu, width="8", seed=str(i)) for i, bleu in enumerate(BLEU)]
  (row, other) = make_rows([*results[:2], finished(width="16", seed="0"), results[2]])
  assert (row.label, other.label) == ("width=8", "width=16")
  assert row.runs == results
  spread = row.spread("bleu")
  assert spread.count == 3 and np.isclose(spread.mean, np.mean(BLEU))
  assert np.isclose(spread.deviation, np.std(BLEU, ddof=1))
  assert other.spread("bleu") == (30.0, None, 1)
  assert row.spread("chrf") is None


def test_seeds_alone_are_one_row_of_the_experiment_itself():
  (row,) = make_rows([finished(seed="0"), finished(seed="1")])
  assert row.label == "seed=0,1"


def test_runs_that_have_not_finished_do_not_count():
  bad = Result({"width": "8", "seed": "2"}, "failed", "the loss is nan", {"steps": 3})
  open_ = Result({"width": "8", "seed": "3"}, "unfinished")
  (row,) = make_rows(
    [finished(width="8", seed="0"), finished(40.0, width="8", seed="1"), bad, open_]
  )
  assert row.status == "2 finished, 1 failed, 1 unfinished"
  assert row.spread("bleu").mean == 35 and row.spread("steps") == (12, 0, 2)
  (row,) = make_rows([bad])
  assert row.status == "failed" and row.spread("steps") == (3, None, 1)


def test_the_table_has_a_column_for_each_figure():
  rows = make_rows([
    *(finished(bleu, width="8", seed=str(i)) for i, bleu in enumerate(BLEU)),
    Result({"width": "16", "seed": "0"}, "failed", "the loss is nan", {"steps": 4}),
  ])  # fmt: skip
  header, cells = as_table(rows)
  assert header == [
    *("settings", "seeds", "status", "parameters", "steps", "target tokens", "wall time, s"),
    *("best validation loss", "final loss", "bleu"),
  ]
  assert cells == [
    ["width=8", "3", "finished", "6,016", "12", "2,302", "75", "2.0000", "2.5000", "31.83 ± 2.02"],
    ["width=16", "0", "failed", "-", "4", *["-"] * 5],
  ]
  header, cells = as_table(make_rows([finished(width="8")]))
  assert "seeds" not in header and cells[0][-1] == "30.00"


def test_all_that_is_known_is_in_the_json():
  bad = Result({"width": "16", "seed": "0"}, "failed", "the loss is nan")
  content = json.loads(
    json.dumps(as_json(make_rows([finished(b, width="8", seed=str(b)) for b in BLEU] + [bad])))
  )
  assert [row["status"] for row in content] == ["finished", "failed"]
  assert content[0]["spreads"]["bleu"] == {
    "mean": np.mean(BLEU), "deviation": np.std(BLEU, ddof=1), "count": 3
  }  # fmt: skip
  assert [run["metrics"]["bleu"] for run in content[0]["runs"]] == BLEU
  assert "exact_match/date" in content[0]["spreads"]
  assert content[1]["runs"][0]["error"] == "the loss is nan"


def test_metrics_of_kinds_have_no_columns():
  assert metric_names([finished(width="8"), Result({}, "failed")]) == ["loss", "bleu"]

import json
import struct
import subprocess
import sys

import pytest

from tfx_jax.errors import UserError
from tfx_jax.report import curves
from tfx_jax.report.records import read_metrics


def write_log(workdir, rows, tail=""):
  workdir.mkdir(exist_ok=True)
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (workdir / "metrics.jsonl").write_text(text + tail)
  return str(workdir)


def row(step, split, **figures):
  return {"step": step, "split": split, **figures}


FULL = [
  row(10, "train", loss=5.0, learning_rate=1e-3, tokens_per_second=900.0),
  row(20, "train", loss=None, not_finite={"loss": "nan"}, learning_rate=9e-4),
  row(20, "validation", loss=4.0, bleu=10.0),
  row(30, "validation", loss=3.0, bleu=12.0, chrf=30.0),
  row(40, "validation", loss=3.5),
  row(30, "test", bleu=1.0),
  row(30, "test", bleu=13.25, exact_match=50.0, bleu_signature="nrefs:1"),
]


def test_the_picture_is_a_png_of_readme_width(tmp_path):
  run = tmp_path / "run_$\\oops$"
  path = curves.draw_curves(write_log(run, FULL, tail='{"step": 50, "spl'))
  assert path == str(run / "curves.png")
  head = (run / "curves.png").read_bytes()[:24]
  assert head[:8] == b"\x89PNG\r\n\x1a\n"
  assert struct.unpack(">I", head[16:20])[0] == 1504
  assert sorted(p.name for p in run.iterdir()) == [
    "curves.png",
    "metrics.jsonl",
  ]


def test_panels_hold_the_figures_of_their_split(tmp_path):
  write_log(tmp_path, FULL, tail='[1]\n{"split": "train"}\nnot json\n')
  lines = list(read_metrics(str(tmp_path)))
  assert len(lines) == len(FULL)
  loss, scores, rate, speed = curves._panels(lines)
  train, validation, best = loss.curves
  assert (train.steps, train.values) == ([10], [5.0])
  assert (validation.steps, validation.values) == ([20, 30, 40], [4.0, 3.0, 3.5])
  assert (best.steps, best.style["label"]) == ([30], "best: 3 at 30")
  assert [(c.style["label"], c.values) for c in scores.curves] == [
    ("BLEU", [10.0, 12.0]),
    ("chrF", [30.0]),
  ]
  assert rate.curves[0].steps == [10, 20]
  assert speed.curves[0].values == [900.0]
  assert curves._test_scores(lines) == "test, step 30:  BLEU 13.25   exact match % 50"


def test_a_panel_without_figures_is_left_out(tmp_path, monkeypatch):
  drawn = []
  draw = curves._draw
  monkeypatch.setattr(curves, "_draw", lambda p, *rest: drawn.extend(p) or draw(p, *rest))
  assert curves.draw_curves(write_log(tmp_path, [row(0, "train", loss=1.0)]))
  assert [panel.title for panel in drawn] == ["Loss"]


def test_nothing_to_draw_draws_nothing(tmp_path):
  assert curves.draw_curves(str(tmp_path)) is None
  assert curves.draw_curves(write_log(tmp_path, [row(1, "train", loss=None)])) is None
  assert curves.draw_curves(write_log(tmp_path, [row(1, "test", bleu=1.0)])) is None
  assert not (tmp_path / "curves.png").exists()


def test_pyplot_stays_out(tmp_path):
  workdir = write_log(tmp_path, FULL)
  code = (
    "import sys; from tfx_jax.report.curves import draw_curves; draw_curves(sys.argv[1]);"
    "print('matplotlib.pyplot' in sys.modules)"
  )
  command = [sys.executable, "-W", "error", "-c", code, workdir]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "False"


def test_an_unwritable_picture_is_one_line(tmp_path):
  (tmp_path / "curves.png").mkdir()
  with pytest.raises(UserError, match=f"cannot draw curves in workdir {tmp_path}: ") as error:
    curves.draw_curves(write_log(tmp_path, FULL))
  assert "\n" not in str(error.value)

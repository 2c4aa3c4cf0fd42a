"""Sweeps: combinations, failures, seeds, and going on where one stopped."""

import contextlib
import io
import json
import os
import signal

import pytest
from support.tiny_run import contents, read_log, write_experiment

from tfx_jax.cli import sweep, train
from tfx_jax.config import files as config_files
from tfx_jax.main import main
from tfx_jax.runtime.supervisor import RESTART

STEPS = [
  *("--config.train.num_steps=4", "--config.train.max_skipped_steps=1"),
  "--config.task.metrics=chrf",
]
# The second learning rate leaves no number finite after a step.
GRID = ["--sweep.optimizer.learning_rate=1e-2,1e30", "--sweep.seed=3,4"]
NAMES = [
  f"optimizer.learning_rate={rate},seed={seed}" for rate in ("1e-2", "1e30") for seed in (3, 4)
]


def run_sweep(experiment, workdir, *options):
  arguments = [experiment, f"--workdir={workdir}", "--mode=sweep"]
  return main([*arguments, *STEPS, *options])


@pytest.fixture(autouse=True)
def quick(without_curves, monkeypatch):
  """No curves; pictures of sweeps have tests of their own."""
  drawn = []
  monkeypatch.setattr(sweep, "draw_sweep", lambda rows, metric, *_: drawn.append(metric))
  return drawn


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
  """A sweep that has been done: its experiment, workdir and what it told."""
  folder = tmp_path_factory.mktemp("swept")
  experiment, workdir = write_experiment(folder), str(folder / "sweep")
  told, result = io.StringIO(), io.StringIO()
  with (
    pytest.MonkeyPatch.context() as patch,
    contextlib.redirect_stderr(told),
    contextlib.redirect_stdout(result),
  ):
    patch.setattr(train, "draw_curves", lambda workdir: None)
    assert run_sweep(experiment, workdir, *GRID) == 0
  (folder / "stdout").write_text(result.getvalue())
  return experiment, workdir, told.getvalue()


def test_every_combination_is_a_run_in_the_order_given(swept):
  _, workdir, told = swept
  announced = [line for line in told.splitlines() if line.startswith("run ")]
  assert announced == [f"run {i} of 4: {name}" for i, name in enumerate(NAMES, 1)]
  assert {*os.listdir(workdir)} == {*NAMES, "sweep.md", "sweep.json", "sweep.png"}
  seeds = [config_files.read_config(f"{workdir}/{name}").seed for name in NAMES]
  assert seeds == [3, 4, 3, 4]
  first, second = (read_log(f"{workdir}/{name}") for name in NAMES[:2])
  assert first[-1]["split"] == "test" and first[-1]["loss"] != second[-1]["loss"]


def test_a_run_that_fails_is_a_row_and_the_sweep_goes_on(swept):
  _, workdir, told = swept
  with open(f"{workdir}/sweep.md") as file:
    text = file.read()
  with open(f"{workdir}/../stdout") as file:
    assert file.read() == text, "standard output is the table alone"
  assert text.splitlines()[0] not in told
  header, _, good, bad = (
    [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[:4]
  )
  assert header[:3] == ["settings", "seeds", "status"] and header[-1] == "chrf"
  assert good[:3] == ["optimizer.learning_rate=1e-2", "2", "finished"]
  assert bad[:3] == ["optimizer.learning_rate=1e30", "0", "failed"] and bad[-1] == "-"
  assert text.count("optimizer.learning_rate=1e30 seed=3: 3 steps in a row were skipped") == 1


def test_totals_and_spreads_are_those_of_the_runs(swept):
  _, workdir, _ = swept
  with open(f"{workdir}/sweep.json") as file:
    rows = json.load(file)
  logs = [read_log(f"{workdir}/{name}") for name in NAMES[:2]]
  for run, log in zip(rows[0]["runs"], logs, strict=True):
    totals, last = run["totals"], log[-1]
    assert (totals["parameters"], totals["steps"]) == (last["parameters"], 4)
    assert totals["best_validation_loss"] == min(
      line["loss"] for line in log if line["split"] == "validation"
    )
    assert totals["seconds"] > 0
    assert run["metrics"]["chrf"] == last["chrf"]
  # 32 rows of 24 tokens, nearly all of them real, though no line of the log has been due yet.
  assert not [line for line in logs[0] if line["split"] == "train"]
  assert 0.9 < rows[0]["runs"][0]["totals"]["tokens"] / (32 * 24) <= 1
  chrf = [log[-1]["chrf"] for log in logs]
  assert rows[0]["spreads"]["chrf"]["mean"] == pytest.approx(sum(chrf) / 2)
  assert rows[0]["spreads"]["chrf"]["deviation"] == pytest.approx(abs(chrf[0] - chrf[1]) / 2**0.5)


def test_what_is_finished_is_not_done_again(swept, monkeypatch, capsys, quick):
  experiment, workdir, _ = swept
  before = contents(workdir)

  def fail(**_):
    raise AssertionError("training has begun")

  monkeypatch.setattr(train, "train_loop", fail)
  half = ["--sweep.optimizer.learning_rate=1e-2", "--sweep.seed=3,4"]
  assert run_sweep(experiment, workdir, *half) == 0
  assert capsys.readouterr().err.count("finished at step 4") == 2
  after = contents(workdir)
  assert {p for p in after if after[p] != before.get(p)} == {"sweep.md", "sweep.json"}
  assert quick == ["chrf", "chrf"]


@pytest.mark.slow
def test_a_stopped_sweep_goes_on(tmp_path, monkeypatch, capsys):
  experiment, workdir = write_experiment(tmp_path), tmp_path / "sweep"
  figures, calls = train.loss_metrics, []

  def stopping(*args, **settings):
    calls.append(1)
    if len(calls) == 2:
      os.kill(os.getpid(), signal.SIGTERM)
    return figures(*args, **settings)

  monkeypatch.setattr(train, "loss_metrics", stopping)
  seeds = "--sweep.seed=0,1,2"
  eager = "--config.train.eval_every=2"  # so that it stops before its last step
  assert run_sweep(experiment, workdir, seeds, eager) == RESTART
  assert [name for name in ("seed=0", "seed=1", "seed=2") if (workdir / name).exists()] == [
    "seed=0"
  ]
  assert "stopped by SIGTERM" in capsys.readouterr().err
  assert "| seed=0,1,2 |     0 | unfinished |" in (workdir / "sweep.md").read_text()
  assert run_sweep(experiment, workdir, seeds, eager) == 0
  told = capsys.readouterr().err
  assert told.count("resuming at step") == 1 and "run 3 of 3: seed=2" in told
  assert "| seed=0,1,2 |     3 | finished |" in (workdir / "sweep.md").read_text()


@pytest.mark.parametrize(
  ("options", "told"),
  [
    (["--sweep.train.num_steps=1"], "--sweep.train.num_steps and --config.train.num_steps are"),
    (["--sweep.model.features=16,17"], "model.features=17 is not a multiple of model.num_heads=2"),
    (["--sweep.data.batch_size=8,12"], "mesh.slices * mesh.data * mesh.fsdp=8 does not divide"),
    (["--sweep.data.test=nowhere"], "no file nowhere.en"),
    ([], "--mode=sweep needs --sweep.KEY"),
  ],
)
def test_nothing_is_begun_where_one_value_is_wrong(options, told, tmp_path, capsys):
  experiment = write_experiment(tmp_path)
  assert run_sweep(experiment, tmp_path / "sweep", *options) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f"error: {told}")
  assert not (tmp_path / "sweep").exists()


def test_folders_of_other_runs_are_refused(swept, trained, capsys):
  experiment, workdir, _ = swept
  before = contents(workdir)
  assert run_sweep(experiment, workdir, *GRID, "--config.model.features=32") == 2
  assert f"{workdir}/{NAMES[0]} holds another run (model.features" in capsys.readouterr().err
  assert contents(workdir) == before
  assert run_sweep(trained[0], trained[1], "--sweep.seed=1") == 2
  assert f"{trained[1]} holds a run: choose another" in capsys.readouterr().err

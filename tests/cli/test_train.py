"""A run from the command line: trained, stopped, and gone on with."""

import dataclasses
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from support.tiny_run import COUNTS, SETTINGS, contents, read_log

import tfx_jax
from tfx_jax import builders
from tfx_jax.cli import evaluate, train
from tfx_jax.config import files as config_files
from tfx_jax.errors import UserError
from tfx_jax.main import main
from tfx_jax.runtime.supervisor import RESTART


def test_a_run_leaves_all_that_is_promised(trained):
  workdir = trained[1]
  found = set(os.listdir(workdir))
  assert found >= {"config.json", "tokenizer", "checkpoints", "metrics.jsonl", "parameters.txt"}
  assert found >= {"samples", "tensorboard", "curves.png"}
  assert not [path for path in contents(workdir) if "tmp" in path or "unfinished" in path]
  assert os.listdir(os.path.join(workdir, "tokenizer")) == ["joint"]
  assert "12" in os.listdir(os.path.join(workdir, "checkpoints"))
  assert sorted(os.listdir(os.path.join(workdir, "samples"))) == [
    "12-test.txt",
    "12-validation.txt",
  ]
  with open(os.path.join(workdir, "samples", "12-validation.txt")) as file:
    assert file.read().count("reference") == SETTINGS["train.decode_examples"]
  with open(os.path.join(workdir, "samples", "12-test.txt")) as file:
    assert file.read().count("reference") == COUNTS["test"]


def test_a_finished_run_with_a_damaged_log_is_still_finished(trained, tmp_path, capsys):
  experiment, workdir = trained[0], str(tmp_path / "run")
  shutil.copytree(trained[1], workdir)
  with open(os.path.join(workdir, "metrics.jsonl"), "ab") as file:
    file.write(b'garbage\n{"step": 12, "spl')
  assert main([experiment, f"--workdir={workdir}"]) == 0
  assert "finished at step 12" in capsys.readouterr().err


def test_the_log_ends_with_the_test(trained):
  found = [(line["step"], line["split"]) for line in read_log(trained[1])]
  assert found == [
    (5, "train"),
    (6, "validation"),
    (10, "train"),
    (12, "validation"),
    (12, "test"),
  ]
  last = read_log(trained[1])[-1]
  assert last["checkpoint"] == "best" and last["checkpoint_step"] == 12
  assert 0 <= last["bleu"] <= 100 and 0 <= last["chrf"] <= 100
  assert last["perplexity"] == pytest.approx(np.exp(last["loss"]))
  assert last["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
  assert last["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|")
  losses = [line["loss"] for line in read_log(trained[1]) if line["split"] == "validation"]
  assert losses[1] < losses[0]


def test_a_finished_run_says_so_and_changes_nothing(copy, capsys):
  experiment, workdir = copy
  before = contents(workdir)
  assert main([experiment, f"--workdir={workdir}"]) == 0
  out, err = capsys.readouterr()
  assert "finished at step 12" in err and "chrf" not in err
  assert out.count("chrf_signature") == 1 and len(out.splitlines()) == len(read_log(workdir)[-1])
  assert contents(workdir) == before


def test_a_finished_run_whose_test_is_missing_is_tested(copy, without_curves):
  experiment, workdir = copy
  path = os.path.join(workdir, "metrics.jsonl")
  before = read_log(workdir)
  with open(path) as file:
    kept = file.readlines()[:-1]
  with open(path, "w") as file:
    file.writelines(kept)
  assert main([experiment, f"--workdir={workdir}"]) == 0
  assert read_log(workdir)[:-1] == before[:-1] and read_log(workdir)[-1]["split"] == "test"
  assert read_log(workdir)[-1]["loss"] == pytest.approx(before[-1]["loss"], rel=1e-5)


def test_more_steps_go_on_and_changed_settings_are_told(copy, capsys, without_curves):
  experiment, workdir = copy
  changes = ["--config.train.num_steps=14", "--config.generate.beam_size=1"]
  assert main([experiment, f"--workdir={workdir}", *changes]) == 0
  err = capsys.readouterr().err
  assert "changed since this run was started: train.num_steps: 12 -> 14" in err
  assert "changed since this run was started: generate.beam_size: 2 -> 1" in err
  assert "resuming at step 12" in err
  assert read_log(workdir)[-1]["step"] == 14
  assert config_files.read_config(workdir).train.num_steps == 14


@pytest.mark.parametrize(
  ("option", "told"),
  [
    ("model.features=32", "model.features: 16 -> 32"),
    ("task.source=de", "task.source: 'en' -> 'de'"),
    ("data.source_length=32", "data.source_length: 24 -> 32"),
    ("tokenizer.vocab_size=41", "tokenizer.vocab_size: 40 -> 41"),
    ("optimizer.learning_rate=0.5", "optimizer.learning_rate: 0.01 -> 0.5"),
    ("seed=1", "seed: 0 -> 1"),
  ],
)
def test_another_run_is_refused_and_nothing_is_changed(trained, option, told, capsys):
  experiment, workdir = trained
  before = contents(workdir)
  assert main([experiment, f"--workdir={workdir}", f"--config.{option}"]) == 2
  err = capsys.readouterr().err.splitlines()
  assert err[-1].startswith(f"error: {workdir} holds another run ({told})")
  assert contents(workdir) == before


def test_a_workdir_without_its_configuration_is_refused(copy, capsys):
  experiment, workdir = copy
  os.remove(os.path.join(workdir, "config.json"))
  assert main([experiment, f"--workdir={workdir}"]) == 2
  assert "but no config.json" in capsys.readouterr().err


def test_a_run_stopped_and_resumed_is_the_run(
  trained, tmp_path, capsys, monkeypatch, without_curves
):
  experiment, workdir = trained
  again = str(tmp_path / "run")
  figures = train.loss_metrics

  def stopping(*args, **settings):
    os.kill(os.getpid(), signal.SIGTERM)
    return figures(*args, **settings)

  monkeypatch.setattr(train, "loss_metrics", stopping)
  assert main([experiment, f"--workdir={again}"]) == RESTART == 75
  told = "stopped by SIGTERM at step 6; the same command resumes it"
  assert capsys.readouterr().err.splitlines()[-1] == told
  monkeypatch.setattr(train, "loss_metrics", figures)
  with open(os.path.join(again, "metrics.jsonl"), "a") as file:
    file.write('{"step": 7, "split": "train", "loss": 5.0}\n')  # of steps that will be done again
  assert main([experiment, f"--workdir={again}"]) == 0
  assert "resuming at step 6" in capsys.readouterr().err

  def without_times(found):
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in found]

  assert without_times(read_log(again)) == without_times(read_log(workdir))
  params = (tfx_jax.load(place).params for place in (workdir, again))
  for a, b in zip(*map(jax.tree.leaves, params), strict=True):
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_sigterm_while_the_step_compiles_saves(trained, tmp_path, capsys, monkeypatch):
  make_step = builders.make_step

  def stopping(*args):
    step = make_step(*args)

    def traced(state, batch):
      os.kill(os.getpid(), signal.SIGTERM)
      return step(state, batch)

    return traced

  monkeypatch.setattr(builders, "make_step", stopping)
  assert main([trained[0], f"--workdir={tmp_path}"]) == RESTART
  told = "stopped by SIGTERM at step 1; the same command resumes it"
  assert capsys.readouterr().err.splitlines()[-1] == told
  assert os.listdir(tmp_path / "checkpoints") == ["1"]


@pytest.mark.parametrize("where", ["make_codecs", "make_model"])
def test_sigterm_before_training(trained, tmp_path, capsys, monkeypatch, where):
  monkeypatch.setattr(builders, where, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
  before = signal.getsignal(signal.SIGTERM)
  assert main([trained[0], f"--workdir={tmp_path}"]) == RESTART
  assert signal.getsignal(signal.SIGTERM) is before
  told = "stopped by SIGTERM; run the same command again"
  assert capsys.readouterr().err.splitlines()[-1] == told


def test_sigterm_in_the_final_evaluation(copy, capsys, monkeypatch, without_curves):
  experiment, workdir = copy
  before = read_log(workdir)
  with open(os.path.join(workdir, "metrics.jsonl")) as file:
    kept = file.readlines()[:-1]
  with open(os.path.join(workdir, "metrics.jsonl"), "w") as file:
    file.writelines(kept)
  with monkeypatch.context() as patch:
    patch.setattr(evaluate, "load", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert main([experiment, f"--workdir={workdir}"]) == RESTART
  assert (
    capsys.readouterr().err.splitlines()[-1] == "stopped by SIGTERM; run the same command again"
  )
  assert main([experiment, f"--workdir={workdir}"]) == 0
  assert read_log(workdir)[-1]["bleu"] == before[-1]["bleu"]


def test_a_damaged_checkpoint_is_passed_over(trained, tmp_path, capsys, caplog, without_curves):
  experiment, workdir = trained
  again = shutil.copytree(workdir, tmp_path / "run")
  path = again / "checkpoints" / "12" / "state" / "manifest.ocdbt"
  path.write_bytes(path.read_bytes()[:50])
  # Not finished, or it would be looked at no more.
  assert main([experiment, f"--workdir={again}", "--config.train.num_steps=13"]) == 0
  assert "resuming at step 8" in capsys.readouterr().err
  assert [line for line in caplog.messages if "checkpoint 12 is damaged (state/manifest" in line]
  assert os.listdir(again / "damaged") == ["12"]
  lines = [(line["step"], line["split"]) for line in read_log(again)]
  assert lines == [(5, "train"), (6, "validation"), (10, "train"), (12, "validation"),
                   (13, "validation"), (13, "test")]  # fmt: skip
  assert read_log(again)[2]["loss"] == read_log(workdir)[2]["loss"]


def test_a_run_that_fails_keeps_the_save_that_was_on_its_way(trained, tmp_path, monkeypatch):
  def failing(checkpoints, state, counters, **_):
    checkpoints.save(state, dataclasses.asdict(counters))
    raise UserError("the loss is nan")

  monkeypatch.setattr(train, "train_loop", failing)
  workdir = tmp_path / "run"
  assert main([trained[0], f"--workdir={workdir}"]) == 2
  assert os.listdir(workdir / "checkpoints") == ["0"]
  assert tfx_jax.load(str(workdir), checkpoint=0).step == 0


def test_the_cache_may_move(trained, tmp_path, capfd):
  experiment, workdir = trained
  moved = f"--config.data.cache_dir={tmp_path}"
  config = config_files.read_config(workdir)
  copy = shutil.copytree(workdir, tmp_path / "run")
  assert main([experiment, f"--workdir={copy}", moved]) == 0
  assert f"changed since this run was started: data.cache_dir: '{config.data.cache_dir}'" in (
    capfd.readouterr().err
  )

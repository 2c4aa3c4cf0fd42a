"""A run from the command line: trained, resumed, evaluated, and put to use."""

import dataclasses
import io
import os
import shutil
import signal
import sys

import jax
import numpy as np
import pytest
from tiny_run import COUNTS, SETTINGS, contents, read_log

import tfx_jax
from tfx_jax import commands, config_io
from tfx_jax.data.tokenizer import EOS
from tfx_jax.errors import UserError
from tfx_jax.evaluation.generate import Hypothesis
from tfx_jax.main import main

TEXTS = ["ab", "", "cde fa", "  ", "f", " b"]


@pytest.fixture(scope="module")
def run(trained):
  return tfx_jax.load(trained[1])


@pytest.fixture
def copy(trained, tmp_path):
  """The experiment, and a run that may be changed."""
  shutil.copytree(trained[1], tmp_path / "run")
  return trained[0], str(tmp_path / "run")


@pytest.fixture
def without_curves(monkeypatch):
  monkeypatch.setattr(commands, "draw_curves", lambda workdir: None)


def as_texts(hypotheses):
  return [best[0].text for best in hypotheses]


def test_a_run_leaves_all_that_is_promised(trained):
  workdir = trained[1]
  found = set(os.listdir(workdir))
  assert found >= {"config.json", "tokenizer", "checkpoints", "metrics.jsonl", "parameters.txt"}
  assert found >= {"samples", "tensorboard", "curves.png"}
  assert not [path for path in contents(workdir) if "tmp" in path]
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


def test_mode_evaluate_adds_a_line(copy, capsys, without_curves):
  _, workdir = copy
  before = read_log(workdir)
  options = ["--config.evaluate.split=validation", "--config.evaluate.checkpoint=12"]
  samples = "--config.evaluate.num_samples=3"
  assert main([f"--workdir={workdir}", "--mode=evaluate", *options, samples]) == 0
  *kept, last = read_log(workdir)
  assert kept == before
  assert (last["step"], last["split"], last["checkpoint"]) == (12, "validation", "12")
  assert last["loss"] == pytest.approx(before[-2]["loss"], rel=1e-5)
  out, err = capsys.readouterr()
  assert out == "" and err.count("reference") == 3
  assert config_io.read_config(workdir).evaluate.split == "test"


@pytest.mark.parametrize("option", ["model.features=32", "model.gated", "model.norm=rms_norm"])
@pytest.mark.parametrize("mode", ["evaluate", "generate"])
def test_another_model_is_refused(trained, mode, option, tmp_path, capsys):
  (tmp_path / "in").write_text("ab\n")
  before = contents(trained[1])
  arguments = [f"--workdir={trained[1]}", f"--mode={mode}", f"--input={tmp_path / 'in'}"]
  assert main([*arguments, f"--output={tmp_path / 'out'}", f"--config.{option}"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f"error: {trained[1]} holds another model ({option.split('=')[0]}: ")
  assert contents(trained[1]) == before and os.listdir(tmp_path) == ["in"]


def generated(workdir, path, out, *options):
  arguments = [f"--workdir={workdir}", "--mode=generate", *options]
  assert main([*arguments, f"--input={path}", f"--output={out}"]) == 0
  return out.read_text() if out.exists() else None


@pytest.fixture
def inputs(tmp_path):
  path = tmp_path / "in.txt"
  path.write_bytes("\n".join(TEXTS).encode().replace(b"f\n", b"f\r\n"))
  return path


def test_mode_generate_keeps_order_and_empty_lines(trained, run, inputs, tmp_path, capsys):
  text = generated(trained[1], inputs, tmp_path / "out.txt")
  assert text.endswith("\n") and text[:-1].split("\n") == as_texts(run.generate(TEXTS))
  assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt"]
  inputs.write_bytes(b"\n\nab\n\n")  # a last line feed ends a line, and begins none
  text = generated(trained[1], inputs, tmp_path / "out.txt")
  assert text == "\n\n" + run.generate(["ab"])[0][0].text + "\n\n"
  inputs.write_bytes(b"")
  assert generated(trained[1], inputs, tmp_path / "out.txt") == ""
  assert capsys.readouterr().out == ""


def test_mode_generate_writes_scores_as_a_table(trained, run, inputs, tmp_path):
  text = generated(trained[1], inputs, tmp_path / "out", "--config.generate.num_return=2")
  rows = [line.split("\t") for line in text.splitlines()]
  expected = [
    [str(number), str(rank), f"{best.score:.6f}", f"{best.log_prob:.6f}", best.text]
    for number, hypotheses in enumerate(run.generate(TEXTS, num_return=2), 1)
    for rank, best in enumerate(hypotheses, 1)
  ]
  assert [row[:2] + row[4:] for row in rows] == [row[:2] + row[4:] for row in expected]
  for row, other in zip(rows, expected, strict=True):
    assert [float(x) for x in row[2:4]] == pytest.approx([float(x) for x in other[2:4]], abs=1e-5)
  text = generated(trained[1], inputs, tmp_path / "out", "--config.generate.scores")
  assert [line.split("\t")[:2] for line in text.splitlines()] == [
    [str(n), "1"] for n in range(1, 7)
  ]


def test_alignments_are_a_last_column_of_links_between_words(trained, run, inputs, tmp_path):
  found = run.generate(TEXTS, num_return=2)
  options = ["--config.generate.alignments", "--config.generate.num_return=2"]
  table = [
    line.split("\t")
    for line in generated(trained[1], inputs, tmp_path / "out", *options).split("\n")[:-1]
  ]
  flat = [
    (text, best) for text, hypotheses in zip(TEXTS, found, strict=True) for best in hypotheses
  ]
  assert [line[4] for line in table] == [best.text for _, best in flat]
  for (text, best), (*_, links) in zip(flat, table, strict=True):
    pairs = [tuple(map(int, link.split("-"))) for link in links.split()]
    if text.strip():
      (alignment,) = run.attention([text], [best.tokens])
      assert pairs == alignment.word_links()
    assert all(t < len(best.text.split()) for _, t in pairs)
    assert all(s < len(text.split()) for s, _ in pairs)
  plain = generated(trained[1], inputs, tmp_path / "out", "--config.generate.scores")
  assert {line.count("\t") for line in plain.splitlines()} == {4}


def test_an_ensemble_generates_and_is_recorded_with_what_it_is_worth(
  copy, inputs, tmp_path, without_curves, capsys
):
  _, workdir = copy
  before, (line,) = read_log(workdir), ["--config.generate.ensemble=@12,@latest"]
  assert main([f"--workdir={workdir}", "--mode=evaluate", line]) == 0
  last = read_log(workdir)[-1]
  assert last["ensemble"] == "@12, @latest"
  assert last["loss"] == pytest.approx(before[-1]["loss"], rel=1e-4)
  alone = generated(workdir, inputs, tmp_path / "out")
  assert generated(workdir, inputs, tmp_path / "out", line) == alone
  capsys.readouterr()
  line = "--config.generate.ensemble=runs/nowhere"
  assert main([f"--workdir={workdir}", "--mode=generate", f"--input={inputs}", line]) == 2
  assert capsys.readouterr().err == (
    "error: generate.ensemble: runs/nowhere holds no run: there is no config.json in it\n"
  )


def test_mode_generate_goes_from_standard_input_to_standard_output(
  trained, run, capsys, monkeypatch
):
  stream = io.TextIOWrapper(io.BytesIO("ab\n\nä\u2028f".encode()), encoding="latin-1")
  monkeypatch.setattr(sys, "stdin", stream)
  assert main([f"--workdir={trained[1]}", "--mode=generate"]) == 0
  expected = as_texts(run.generate(["ab", "", "ä\u2028f"]))
  assert capsys.readouterr().out == "\n".join(expected) + "\n"


def test_an_output_never_breaks_a_line(trained, inputs, tmp_path, monkeypatch):
  """Bytes and characters may hold anything."""
  odd = Hypothesis("a\nb\tc\r", -1.0, -2.0, [4, EOS])
  monkeypatch.setattr(
    tfx_jax.evaluation.generate.Generator,
    "__call__",
    lambda self, params, texts, *_: [[odd] for _ in texts],
  )
  assert generated(trained[1], inputs, tmp_path / "out") == "a b c \n" * len(TEXTS)
  table = generated(trained[1], inputs, tmp_path / "out", "--config.generate.scores")
  assert [line.split("\t")[4] for line in table.split("\n")[:-1]] == ["a b c "] * len(TEXTS)


def test_a_device_or_a_pipe_is_written_to_and_not_replaced(trained, run, inputs, tmp_path):
  os.mkfifo(tmp_path / "pipe")
  reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
  generated_arguments = [f"--workdir={trained[1]}", "--mode=generate", f"--input={inputs}"]
  assert main([*generated_arguments, f"--output={tmp_path / 'pipe'}"]) == 0
  assert os.read(reading, 1 << 16).decode()[:-1].split("\n") == as_texts(run.generate(TEXTS))
  os.close(reading)
  assert sorted(os.listdir(tmp_path)) == ["in.txt", "pipe"]


class Left(io.StringIO):
  """Standard output whose reader has left."""

  def reconfigure(self, **_):
    pass

  def fileno(self):
    return 1

  def flush(self):
    raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_leaves_early_is_no_error(trained, inputs, capsys, monkeypatch):
  monkeypatch.setattr(sys, "stdout", Left())
  monkeypatch.setattr(os, "dup2", lambda *_: None)
  code = main([f"--workdir={trained[1]}", "--mode=generate", f"--input={inputs}"])
  monkeypatch.undo()
  assert code == 128 + signal.SIGPIPE
  assert "error" not in capsys.readouterr().err


def test_a_finished_run_says_so_and_changes_nothing(copy, capsys):
  experiment, workdir = copy
  before = contents(workdir)
  assert main([experiment, f"--workdir={workdir}"]) == 0
  out, err = capsys.readouterr()
  assert "finished at step 12" in err and "chrf_signature" in err and out == ""
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
  assert "changed since this run began: train.num_steps: 12 -> 14" in err
  assert "changed since this run began: generate.beam_size: 2 -> 1" in err
  assert "going on at step 12" in err
  assert read_log(workdir)[-1]["step"] == 14
  assert config_io.read_config(workdir).train.num_steps == 14


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
  figures = commands.loss_figures

  def stopping(*args):
    os.kill(os.getpid(), signal.SIGTERM)
    return figures(*args)

  monkeypatch.setattr(commands, "loss_figures", stopping)
  assert main([experiment, f"--workdir={again}"]) == 128 + signal.SIGTERM
  told = "stopped by SIGTERM at step 6; the same command goes on from there"
  assert capsys.readouterr().err.splitlines()[-1] == told
  monkeypatch.setattr(commands, "loss_figures", figures)
  with open(os.path.join(again, "metrics.jsonl"), "a") as file:
    file.write('{"step": 7, "split": "train", "loss": 5.0}\n')  # of steps that will be done again
  assert main([experiment, f"--workdir={again}"]) == 0
  assert "going on at step 6" in capsys.readouterr().err

  def without_times(found):
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in found]

  assert without_times(read_log(again)) == without_times(read_log(workdir))
  params = (tfx_jax.load(place).params for place in (workdir, again))
  for a, b in zip(*map(jax.tree.leaves, params), strict=True):
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_mode_prepare_makes_tokenizer_and_corpora_for_training(trained, tmp_path, capsys):
  experiment, workdir = str(trained[0]), str(tmp_path / "run")
  cache = tmp_path / "corpora"
  options = [experiment, f"--workdir={workdir}", f"--config.data.cache_dir={cache}"]
  assert main([*options, "--mode=prepare"]) == 0
  assert sorted(os.listdir(workdir)) == ["config.json", "tokenizer"]
  assert len(os.listdir(cache)) == 3
  err = capsys.readouterr().err
  assert '"pairs_kept": 200' in err and [line.split(":")[0] for line in err.splitlines()] == [
    "train",
    "validation",
    "test",
  ]


def test_a_run_that_fails_keeps_the_save_that_was_on_its_way(trained, tmp_path, monkeypatch):
  def failing(checkpoints, state, counters, **_):
    checkpoints.save(state, dataclasses.asdict(counters))
    raise UserError("the loss is nan")

  monkeypatch.setattr(commands, "train_loop", failing)
  workdir = tmp_path / "run"
  assert main([trained[0], f"--workdir={workdir}"]) == 2
  assert os.listdir(workdir / "checkpoints") == ["0"]
  assert tfx_jax.load(str(workdir), checkpoint=0).step == 0


def test_the_cache_may_move(trained, tmp_path, capfd):
  experiment, workdir = trained
  moved = f"--config.data.cache_dir={tmp_path}"
  config = config_io.read_config(workdir)
  copy = shutil.copytree(workdir, tmp_path / "run")
  assert main([experiment, f"--workdir={copy}", moved]) == 0
  assert f"changed since this run began: data.cache_dir: '{config.data.cache_dir}'" in (
    capfd.readouterr().err
  )

"""Evaluating a trained run."""

import os
import shutil

import pytest
from support.tiny_run import contents, read_log

from tfx_jax.config import files as config_files
from tfx_jax.main import main


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
  scores = dict(line.split(maxsplit=1) for line in out.splitlines())
  assert scores["checkpoint"] == "12" and float(scores["loss"]) == pytest.approx(last["loss"], 1e-3)
  assert err.count("reference") == 3 and "chrf" not in err
  assert config_files.read_config(workdir).evaluate.split == "test"


def test_an_ensemble_is_recorded_with_what_it_is_worth(copy, without_curves):
  _, workdir = copy
  before = read_log(workdir)[-1]
  options = ["--mode=evaluate", "--config.generate.ensemble=@12,@latest"]
  assert main([f"--workdir={workdir}", *options]) == 0
  last = read_log(workdir)[-1]
  assert last["ensemble"] == "@12, @latest" and "ensemble" not in before
  assert last["parameters"] == 3 * before["parameters"]
  assert last["loss"] == pytest.approx(before["loss"], rel=1e-4)


@pytest.mark.parametrize("option", ["model.features=32", "model.gated", "model.norm=rms_norm"])
@pytest.mark.parametrize("mode", ["evaluate", "generate"])
def test_another_model_is_refused(trained, mode, option, tmp_path, capsys):
  (tmp_path / "in").write_text("ab\n")
  before = contents(trained[1])
  files = [f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
  arguments = [mode, f"--workdir={trained[1]}", *(files if mode == "generate" else [])]
  assert main([*arguments, f"--config.{option}"]) == 2
  *phases, line = capsys.readouterr().err.splitlines()
  assert phases == [f"loading {trained[1]}"]
  assert line.startswith(f"error: {trained[1]} holds another model ({option.split('=')[0]}: ")
  assert contents(trained[1]) == before and os.listdir(tmp_path) == ["in"]


def evaluate(workdir, baseline, *options):
  options = ["--config.evaluate.bootstrap_samples=50", *options]
  return main([f"--workdir={workdir}", "--mode=evaluate", f"--baseline={baseline}", *options])


def test_a_baseline_decodes_by_its_own_settings(trained, copy, capsys, without_curves):
  """The same run, but for the beam: what the command line changes is of the first one only."""
  _, workdir = copy
  metrics = "--config.task.metrics=chrf,exact_match,bleu_moses"
  before = contents(trained[1])
  assert evaluate(workdir, trained[1], "--config.generate.beam_size=1", metrics) == 0
  assert contents(trained[1]) == before
  last, own = read_log(workdir)[-1], read_log(trained[1])[-1]
  assert (last["baseline"], last["baseline/step"]) == (trained[1], 12)
  assert last["chrf/baseline"] == own["chrf"] != last["chrf"]
  assert 0 < last["chrf/p_value"] <= 1 and "bs:50|" in last["chrf/paired_signature"]
  assert "|moses:" in last["bleu_moses/paired_signature"]
  out, err = capsys.readouterr()
  (header,) = [line for line in out.splitlines() if line.startswith("| system")]
  assert "p-value" in header
  (row,) = [line for line in out.splitlines() if line.startswith(f"| {workdir}") and "chrf" in line]
  assert f"{last['chrf']:.2f}" in row and f"{last['chrf/p_value']:.4f}" in row
  assert "not compared, because sacreBLEU's test has no such metrics: exact_match" in err


def test_the_same_settings_do_not_differ(trained, copy, without_curves):
  _, workdir = copy
  assert evaluate(workdir, trained[1]) == 0
  last = read_log(workdir)[-1]
  assert last["chrf/p_value"] == 1 and last["chrf/baseline"] == last["chrf"]


def test_a_baseline_that_cannot_be(trained, copy, tmp_path, capsys):
  _, workdir = copy
  before = contents(workdir)

  def refusal(baseline, *options):
    assert evaluate(workdir, baseline, *options) == 2
    *phases, line = capsys.readouterr().err.splitlines()
    assert phases == [f"loading {workdir}"]
    assert line.startswith(f"error: --baseline={baseline}: ")
    return line

  assert "holds no run" in refusal(tmp_path / "nowhere")
  assert "add bleu, chrf or bleu_moses" in refusal(trained[1], "--config.task.metrics=exact_match")
  validation = "--config.evaluate.split=validation"
  other = shutil.copytree(trained[1], tmp_path / "other")
  config = config_files.read_config(other)
  config.data.validation = config.data.test
  config_files.write_config(other, config)
  assert "its split has 20 examples, this run's has 24" in refusal(other, validation)
  assert contents(workdir) == before

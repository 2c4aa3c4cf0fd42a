"""Evaluating a trained run."""

import os

import pytest
from tiny_run import contents, read_log

from tfx_jax import config_io
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

"""Every experiment is valid, and runs."""

import pathlib

import pytest
from tiny_run import SETTINGS, write_pairs

from tfx_jax import build, config_io
from tfx_jax.commands import evaluate, train
from tfx_jax.config import base
from tfx_jax.main import main
from tfx_jax.validation import validate

EXPERIMENTS = sorted((pathlib.Path(__file__).parent.parent / "experiments").glob("*.py"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_is_valid(path):
  config = config_io.read_experiment(str(path))
  validate(config)
  assert config_io.differences(base().to_dict(), config.to_dict()), "it is the defaults"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_runs(path, tmp_path, monkeypatch):
  for command in (train, evaluate):
    monkeypatch.setattr(command, "draw_curves", lambda workdir: None)
  write_pairs(tmp_path)
  tiny = {"data.format": "text", "task.metrics": "chrf", "train.num_steps": 2}
  tiny |= {f"data.{split}": f"{tmp_path}/{split}" for split in build.SPLITS}
  overrides = [f"--config.{key}={value}" for key, value in (SETTINGS | tiny).items()]
  workdir = tmp_path / "run"
  assert main([f"--config={path}", f"--workdir={workdir}", *overrides]) == 0
  assert (workdir / "checkpoints" / "2").is_dir()
  assert '"split": "test"' in (workdir / "metrics.jsonl").read_text().splitlines()[-1]

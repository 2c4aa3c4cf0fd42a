"""Commands called from Python."""

import os
import signal
import sys
import types

import jax
import numpy as np
import pytest
from support.tiny_run import make_config, read_log, write_pairs

import tfx_jax
from tfx_jax.errors import UserError
from tfx_jax.main import main


@pytest.fixture
def config(tmp_path):
  write_pairs(tmp_path)
  return make_config({"train.num_steps": 4, "train.eval_every": 2}, tmp_path)


def test_training_from_python_is_the_command(config, tmp_path, trained):
  """The same numbers, from the same settings."""
  experiment, _ = trained
  given = config.to_dict()
  run = tfx_jax.train(config, str(tmp_path / "python"))
  assert run.step == 4 and config.to_dict() == given
  options = ["--config.train.num_steps=4", "--config.train.eval_every=2"]
  assert main([experiment, f"--workdir={tmp_path}/command", *options]) == 0
  other = tfx_jax.load(str(tmp_path / "command"))
  jax.tree.map(np.testing.assert_array_equal, run.params, other.params)


def test_a_call_again_opens_what_is_finished(config, tmp_path, capsys):
  workdir = str(tmp_path / "run")
  first = tfx_jax.train(config, workdir)
  lines = read_log(workdir)
  second = tfx_jax.train(config, workdir)
  assert "finished at step 4" in capsys.readouterr().err
  assert read_log(workdir) == lines
  jax.tree.map(np.testing.assert_array_equal, first.params, second.params)


def test_an_interrupt_stops_the_cells_after_it_too(config, tmp_path, monkeypatch):
  from tfx_jax.report.progress import Progress

  update = Progress.update

  def interrupt(self, step, metrics):
    update(self, step, metrics)
    if step == 2:
      os.kill(os.getpid(), signal.SIGINT)

  with monkeypatch.context() as patch:
    patch.setattr(Progress, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
      tfx_jax.train(config, str(tmp_path / "run"))
  assert tfx_jax.load(str(tmp_path / "run"), checkpoint="latest").step < 4
  assert tfx_jax.train(config, str(tmp_path / "run")).step == 4


def test_messages_are_no_faults_in_a_notebook(config, tmp_path, capsys, monkeypatch):
  shown = []
  display = types.SimpleNamespace(
    display=lambda *_, **__: types.SimpleNamespace(update=lambda data, **_: shown.append(data))
  )
  monkeypatch.setitem(sys.modules, "ipykernel", types.SimpleNamespace())
  monkeypatch.setitem(sys.modules, "IPython.display", display)
  config.train.decode_every = 2
  tfx_jax.train(config, str(tmp_path / "run"))
  out, err = capsys.readouterr()
  assert err == "" and "parameters on" in out and "step 2: validation" in out
  assert [text for data in shown if "samples of validation, step 4" in (text := data["text/plain"])]
  assert [data for data in shown if "image/png" in data]


def test_mistakes_are_raised(config, tmp_path):
  with pytest.raises(UserError, match="train: config is str: use a ConfigDict"):
    tfx_jax.train("quickstart", str(tmp_path / "run"))
  with pytest.raises(UserError, match="train: workdir"):
    tfx_jax.train(config, 3)
  config.data.train = str(tmp_path / "nothing")
  with pytest.raises(UserError, match="no file"):
    tfx_jax.train(config, str(tmp_path / "run"))
  with pytest.raises(UserError, match="--devices=0"):
    tfx_jax.plan(config, 0)


def test_an_experiment_is_a_configuration_to_change():
  config = tfx_jax.experiment("quickstart:en-fr")
  assert (config.task.source, config.task.target) == ("en", "fr")
  config.train.num_steps = 10
  assert tfx_jax.experiment("quickstart").train.num_steps == 1000


def test_a_plan_is_printed_and_changes_nothing(config, capsys):
  given = config.to_dict()
  tfx_jax.plan(config, devices=2)
  assert "in all, a device" in capsys.readouterr().out
  assert config.to_dict() == given

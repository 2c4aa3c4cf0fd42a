import os
import py_compile
import sys

import pytest

from tfx_jax.config.experiment import experiments, read_experiment
from tfx_jax.errors import UserError


def failure(function, *args):
  with pytest.raises(UserError) as info:
    function(*args)
  assert "\n" not in str(info.value)
  return str(info.value)


def experiment(folder, body, name="run.py"):
  path = folder / name
  path.write_text(body)
  return str(path)


BODY = """from tfx_jax.config import base

def get_config(layers="2"):
  config = base()
  {}
  return config
"""


def test_an_experiment_is_called_with_its_argument(tmp_path):
  path = experiment(tmp_path, BODY.format("config.model.encoder_layers = int(layers)"))
  assert read_experiment(path).model.encoder_layers == 2
  assert read_experiment(f"{path}:5").model.encoder_layers == 5


@pytest.mark.parametrize(
  ("body", "told"),
  [
    (BODY.format("config.train.num_step = 5"), "num_step"),
    (BODY.format("config.train.update(num_step=5)"), "num_step"),
    (BODY.format("config.train.num_steps = 'five'"), "five"),
    (BODY.format("config.trian.num_steps = 5"), "trian"),
    (BODY.format("config = None"), "get_config returns NoneType; use a ConfigDict"),
    (BODY.format("config.task.source, config.task.target = layers.split('-')"), "unpack"),
    (BODY.format("raise ValueError"), "ValueError"),
    ("config = 5", "has no function get_config"),
  ],
)
def test_an_experiment_that_is_wrong_is_told_in_one_line(tmp_path, body, told):
  path = experiment(tmp_path, body)
  message = failure(read_experiment, path)
  assert message.startswith(f"--config={path}: ") and told in message


def test_no_bytecode_of_an_experiment_is_kept_or_read(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "dont_write_bytecode", False)
  path = experiment(tmp_path, BODY.format("config.train.num_steps = 5"))
  assert read_experiment(path).train.num_steps == 5
  assert os.listdir(tmp_path) == [os.path.basename(path)]
  py_compile.compile(path)
  (cached,) = (tmp_path / "__pycache__").iterdir()
  cached.write_bytes(cached.read_bytes()[:-100])  # as a full disk leaves it
  assert read_experiment(path).train.num_steps == 5


def test_an_experiment_that_is_none_is_told_in_one_line(tmp_path):
  missing, text = str(tmp_path / "missing.py"), experiment(tmp_path, "", "run.txt")
  assert failure(read_experiment, missing).endswith(f"there is no file {missing}")
  assert failure(read_experiment, f"{missing}:big").endswith(f"no file {missing}")
  assert failure(read_experiment, text).endswith(f"{text} is not a Python file")
  path = experiment(tmp_path, "def get_config():\n  return 5\n")
  assert failure(read_experiment, f"{path}:big").startswith(f"--config={path}:big: ")


def test_an_experiment_of_the_package_goes_by_its_name(tmp_path, monkeypatch):
  path = experiments()["quickstart"]
  assert experiments().keys() == {p.stem for p in path.parent.glob("*.py")}
  monkeypatch.chdir(tmp_path)
  for name in ("quickstart", "quickstart:en-fr"):
    given = name.replace("quickstart", str(path))
    assert read_experiment(name).to_dict() == read_experiment(given).to_dict()
  assert failure(read_experiment, "quickstrt") == (
    "--config=quickstrt: there is no experiment 'quickstrt', did you mean 'quickstart'?"
  )
  assert failure(read_experiment, "experiments/wmt.py:big") == (
    "--config=experiments/wmt.py:big: there is no file experiments/wmt.py; --config=wmt:big comes "
    "with tfx_jax"
  )

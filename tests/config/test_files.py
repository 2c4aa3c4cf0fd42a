import json
import os
import py_compile
import sys

import pytest
from support.tiny_run import make_config

from tfx_jax.config import base
from tfx_jax.config import files as config_files
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


@pytest.mark.parametrize(
  ("key", "text", "value"),
  [
    ("train.num_steps", "12", 12),
    ("train.num_steps", "1e3", 1000),
    ("train.num_steps", "1_000", 1000),
    ("mesh.data", "-1", -1),
    ("seed", "7", 7),
    ("model.dropout", "0.25", 0.25),
    ("model.dropout", "0", 0.0),
    ("optimizer.eps", "1e-6", 1e-6),
    ("model.gated", "True", True),
    ("model.gated", "true", True),
    ("model.use_bias", "false", False),
    ("data.train", "my/train", "my/train"),
    ("data.train", "5", "5"),
    ("data.train", "", ""),
    ("task.metrics", "bleu", ("bleu",)),
    ("task.metrics", "bleu, my.metrics:f", ("bleu", "my.metrics:f")),
    ("task.metrics", "('bleu',)", ("bleu",)),
    ("task.metrics", "['bleu', 'chrf']", ("bleu", "chrf")),
    ("task.metrics", "(bleu, my.metrics:f)", ("bleu", "my.metrics:f")),
    ("task.metrics", "[bleu]", ("bleu",)),
    ("task.metrics", "()", ()),
    ("task.metrics", "", ()),
    ("generate.stop", " \u2028 ,\xa0", ("\u2028", "\xa0")),
  ],
)
def test_an_override_is_read_by_the_type_of_its_key(key, text, value):
  config = base()
  config_files.override(config, key, text)
  *section, name = key.split(".")
  found = config[section[0]][name] if section else config[name]
  assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
  ("key", "text", "told"),
  [
    ("train.num_steps", "many", "train.num_steps=many is not of type int"),
    ("train.num_steps", "1.5", "train.num_steps=1.5 is not of type int"),
    ("train.num_steps", "True", "train.num_steps=True is not of type int"),
    ("train.num_steps", "", "train.num_steps= is not of type int"),
    ("model.dropout", "nan", "model.dropout=nan is not of type float"),
    ("model.dropout", "True", "model.dropout=True is not of type float"),
    ("model.gated", "1", "model.gated=1 is not of type bool"),
    ("task.metrics", "('bleu'", "task.metrics=('bleu' is not of type tuple"),
    ("task.metrics", "(bleu", "task.metrics=(bleu is not of type tuple"),
    ("task.metrics", "('bleu')", "task.metrics=('bleu') is not of type tuple"),
    ("train.num_step", "5", "config.train has no key 'num_step', did you mean 'num_steps'?"),
    ("trian.num_steps", "5", "config has no key 'trian', did you mean 'train'?"),
    ("train.num_steps.x", "5", "config.train.num_steps has no key 'x'"),
    ("num_steps", "5", "config has no key 'num_steps'"),
    ("mesh", "5", "that is a section; its keys are data, fsdp, sequence, slices, tensor"),
  ],
)
def test_an_override_that_means_nothing_is_one_line_and_changes_nothing(key, text, told):
  config = base()
  message = failure(config_files.override, config, key, text)
  assert message.startswith(f"--config.{key}") and told in message
  assert config.to_dict() == base().to_dict()


def test_an_experiment_is_called_with_its_argument(tmp_path):
  path = experiment(tmp_path, BODY.format("config.model.encoder_layers = int(layers)"))
  assert config_files.read_experiment(path).model.encoder_layers == 2
  assert config_files.read_experiment(f"{path}:5").model.encoder_layers == 5


@pytest.mark.parametrize(
  ("body", "told"),
  [
    (BODY.format("config.train.num_step = 5"), "num_step"),
    (BODY.format("config.train.update(num_step=5)"), "num_step"),
    (BODY.format("config.train.num_steps = 'five'"), "five"),
    (BODY.format("config.trian.num_steps = 5"), "trian"),
    (BODY.format("config = None"), "get_config returns no configuration but NoneType"),
    (BODY.format("config.task.source, config.task.target = layers.split('-')"), "unpack"),
    (BODY.format("raise ValueError"), "ValueError"),
    ("config = 5", "has no function get_config"),
  ],
)
def test_an_experiment_that_is_wrong_is_told_in_one_line(tmp_path, body, told):
  path = experiment(tmp_path, body)
  message = failure(config_files.read_experiment, path)
  assert message.startswith(f"--config={path}: ") and told in message


def test_no_bytecode_of_an_experiment_is_kept_or_read(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "dont_write_bytecode", False)
  path = experiment(tmp_path, BODY.format("config.train.num_steps = 5"))
  assert config_files.read_experiment(path).train.num_steps == 5
  assert os.listdir(tmp_path) == [os.path.basename(path)]
  py_compile.compile(path)
  (cached,) = (tmp_path / "__pycache__").iterdir()
  cached.write_bytes(cached.read_bytes()[:-100])  # as a full disk leaves it
  assert config_files.read_experiment(path).train.num_steps == 5


def test_an_experiment_that_is_none_is_told_in_one_line(tmp_path):
  missing, text = str(tmp_path / "missing.py"), experiment(tmp_path, "", "run.txt")
  assert failure(config_files.read_experiment, missing).endswith(f"there is no file {missing}")
  assert failure(config_files.read_experiment, f"{missing}:big").endswith(f"no file {missing}")
  assert failure(config_files.read_experiment, text).endswith(f"{text} is not a Python file")
  path = experiment(tmp_path, "def get_config():\n  return 5\n")
  assert failure(config_files.read_experiment, f"{path}:big").startswith(f"--config={path}:big: ")


def written(tmp_path, change=None):
  """The workdir of a config.json, its content changed."""
  config = base()
  config.task.metrics = ("chrf",)
  config.train.num_steps = 5
  config.model.dropout = 0
  config_files.write_config(str(tmp_path / "run"), config)
  path = tmp_path / "run" / "config.json"
  if change:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
  return str(tmp_path / "run"), config


def test_a_configuration_comes_back_as_it_was(tmp_path):
  workdir, config = written(tmp_path)
  found = config_files.read_config(workdir)
  assert found.to_dict() == config.to_dict()
  assert found.is_locked and type(found.task.metrics) is tuple
  assert type(found.model.dropout) is float
  assert config_files.recorded_cpu_count(workdir) == config_files.cpu_count() >= 1
  assert os.listdir(workdir) == ["config.json"]


def test_a_byte_order_mark_that_an_editor_has_put_is_left_out(tmp_path):
  config_files.write_config(str(tmp_path), base())
  path = tmp_path / "config.json"
  path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
  assert config_files.read_config(str(tmp_path)) == base()


def test_a_workdir_without_a_run_has_no_configuration(tmp_path):
  assert config_files.read_config(str(tmp_path)) is None
  assert config_files.read_config(str(tmp_path / "missing")) is None
  assert config_files.recorded_cpu_count(str(tmp_path)) is None


def test_keys_added_since_have_their_defaults(tmp_path):
  def change(content):
    del content["config"]["train"]["patience"], content["config"]["generate"]

  workdir, config = written(tmp_path, change)
  assert config_files.read_config(workdir).to_dict() == config.to_dict()


@pytest.mark.parametrize(
  ("change", "told"),
  [
    (lambda content: content.update(format_version=99), "has format 99"),
    (lambda content: content.update(format_version="new"), "cannot read"),
    (lambda content: content.pop("format_version"), "cannot read"),
    (lambda content: content.pop("config"), "cannot read"),
    (lambda content: content.update(config=5), "cannot read"),
    (lambda content: content["config"]["train"].update(num_steps="five"), "num_steps"),
    (lambda content: content["config"].update(train=5), "train"),
  ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(tmp_path, change, told):
  workdir, _ = written(tmp_path, change)
  message = failure(config_files.read_config, workdir)
  assert f"{workdir}/config.json" in message and told in message


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_damaged_file_is_one_line(tmp_path, content):
  (tmp_path / "config.json").write_bytes(content)
  assert failure(config_files.read_config, str(tmp_path)).startswith(
    f"cannot read {tmp_path}/config"
  )


def test_a_workdir_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  for workdir in (f"{tmp_path}/file", f"{tmp_path}/file/run"):
    message = failure(config_files.write_config, workdir, base())
    assert message.startswith(f"cannot write to workdir {workdir}: ")


def test_differences_are_lines_of_keys():
  old, new = (
    make_config(),
    make_config({"seed": 5, "train.num_steps": 99, "task.metrics": ("chrf",)}),
  )
  assert config_files.differences(old.to_dict(), new.to_dict()) == [
    "seed: 0 -> 5",
    "task.metrics: ('bleu', 'chrf') -> ('chrf',)",
    "train.num_steps: 12 -> 99",
  ]
  assert config_files.differences(old.to_dict(), old.to_dict()) == []


def test_a_run_goes_on_with_the_defaults_that_it_began_with(tmp_path):
  old, new = make_config({"model.norm_epsilon": 1e-6}), make_config()
  assert new.model.norm_epsilon == 1e-5
  assert config_files.keep_old_defaults(new, str(tmp_path)) == []
  config_files.write_config(str(tmp_path), old)
  assert config_files.read_config(str(tmp_path)).to_dict() == old.to_dict()
  assert config_files.keep_old_defaults(new, str(tmp_path)) == [
    "model.norm_epsilon: 1e-05 -> 1e-06"
  ]
  assert new.to_dict() == old.to_dict()
  chosen = make_config({"model.norm_epsilon": 1e-3})
  assert config_files.keep_old_defaults(chosen, str(tmp_path)) == []

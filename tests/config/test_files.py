import json
import os

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


def as_format_1(content, **changes):
  """Rewrites the content of config.json to what version 0.1 wrote for the same settings."""
  content["format_version"] = 1
  content["config"]["model"] |= {"windows": "0 4096", "rotary_scaling": "linear 2"}
  content["config"]["optimizer"] |= {
    "settings": ["consistent_rms=0.2"],
    "groups": ["encoder scale=0.5"],
  }
  content["config"]["lora"]["targets"] = ["mlp/up 0-3"]
  content["config"]["model"] |= changes


def test_texts_of_format_1_are_read_as_the_values_they_mean(tmp_path):
  workdir, config = written(tmp_path, as_format_1)
  config.model.windows, config.model.rotary_scaling = (0, 4096), ("linear", 2.0)
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.optimizer.groups = (("encoder", {"scale": 0.5}),)
  config.lora.targets = (("mlp/up", (0, 3)),)
  found = config_files.read_config(workdir)
  assert found.to_dict() == config.to_dict()
  config_files.write_config(workdir, found)
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
    (lambda content: as_format_1(content, windows="0 all"), "model.windows='0 all'"),
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

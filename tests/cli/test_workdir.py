"""Whose a workdir is: the run that began there, on the data that it began with."""

import fnmatch
import json
import os
import pathlib
import re
import shutil
import types

import pytest
from support.tiny_run import make_config, write_pairs

from tfx_jax.cli import evaluate
from tfx_jax.cli.train import check_end
from tfx_jax.cli.workdir import check_workdir, opened, settle_config
from tfx_jax.config import base
from tfx_jax.config import files as config_files
from tfx_jax.errors import UserError
from tfx_jax.runtime.workdir_lock import InUseError
from tfx_jax.training.recorder import Counters


@pytest.fixture
def data(tmp_path):
  (tmp_path / "data").mkdir()
  write_pairs(tmp_path / "data")
  return tmp_path / "data"


@pytest.fixture
def workdir(data, tmp_path):
  """Of a run that has made its tokenizer."""
  settle_config(make_config(folder=data), str(tmp_path / "run"))
  (tmp_path / "run" / "tokenizer").mkdir()
  return str(tmp_path / "run")


def change(data, split):
  with open(data / f"{split}.en", "a") as file:
    file.write("one more\n")


def refused(config, workdir):
  with open(f"{workdir}/config.json") as file:
    before = file.read()
  with pytest.raises(UserError) as info:
    settle_config(config, workdir)
  with open(f"{workdir}/config.json") as file:
    assert file.read() == before
  return str(info.value)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_data_that_has_changed_is_refused_by_name(data, workdir, split):
  change(data, split)
  assert refused(make_config(folder=data), workdir) == (
    f"the data of {split} has changed since this run was started (data.{split}={data}/{split}): "
    "restore it, or choose another --workdir"
  )


def test_other_test_data_is_told_once(data, workdir, capsys):
  change(data, "test")
  config = make_config(folder=data)
  settle_config(config, workdir)
  assert capsys.readouterr().err == (
    f"changed since this run was started: the content of data.test={data}/test: its scores cannot "
    "be compared with earlier ones\n"
  )
  settle_config(config, workdir)
  assert capsys.readouterr().err == ""


def test_the_same_data_elsewhere_are_the_same_run(data, workdir, tmp_path, capsys):
  moved = shutil.move(data, tmp_path / "elsewhere")
  settle_config(make_config(folder=moved), workdir)
  assert (
    f"changed since this run was started: data.train: '{data}/train' -> " in capsys.readouterr().err
  )
  assert config_files.read_config(workdir).data.train == f"{moved}/train"
  change(moved, "train")
  assert "the data of train has changed" in refused(make_config(folder=moved), workdir)


def test_overlap_with_other_data_counts_as_content_of_train(data, tmp_path):
  workdir = str(tmp_path / "run")
  config = make_config({"data.remove_overlap": True}, data)
  settle_config(config, workdir)
  os.mkdir(f"{workdir}/tokenizer")
  with open(data / "test.en", "a") as test, open(data / "test.de", "a") as target:
    test.write("entirely new\n")
    target.write("entirely new\n")
  told = refused(config, workdir)
  assert "the data of train" in told and "data.remove_overlap" in told


def test_a_run_from_before_fingerprints_goes_on_and_has_them_then(data, workdir):
  path = f"{workdir}/config.json"
  with open(path) as file:
    content = json.load(file)
  recorded = content.pop("data_fingerprints")
  with open(path, "w") as file:
    json.dump(content, file)
  moved = make_config({"data.train": f"{data}/validation"}, data)
  assert "holds another run (data.train: " in refused(moved, workdir)  # nobody knows what it was
  settle_config(make_config(folder=data), workdir)
  assert config_files.recorded_fingerprints(workdir) == recorded and set(recorded) == {
    "train",
    "validation",
    "test",
  }


def test_a_moving_average_neither_begins_nor_ends_within_a_run(data, workdir):
  told = refused(make_config({"train.ema_decay": 0.9}, data), workdir)
  assert told.startswith(f"{workdir} holds another run (train.ema_decay: 0.0 -> 0.9)")


def rules():
  """Which keys may change, by pattern, as docs/survival.md says."""
  page = pathlib.Path(__file__).parents[2] / "docs" / "survival.md"
  found = {}
  for keys, answer in re.findall(r"^\| (`.*`) \| (yes|no)", page.read_text(), re.MULTILINE):
    found |= dict.fromkeys(re.findall("`([^`]+)`", keys), answer == "yes")
  return found


def another(value):
  """Another value of the same type."""
  match value:
    case bool():
      return not value
    case int() | float():
      return value + 1
    case str():
      return f"{value}x"
    case tuple():
      return (*value, "x")
  return {"x": 1}


PATHS = ("data.train", "data.validation", "data.test")


def changed(key, data):
  """The configuration of the run with another value of a key."""
  config = make_config(folder=data)
  *section, name = key.split(".")
  place = config[section[0]] if section else config
  place[name] = f"{data}-copy/{name}" if key in PATHS else another(place[name])
  return config


def test_what_may_change_is_what_the_page_says(data, workdir):
  shutil.copytree(data, f"{data}-copy")
  answers = rules()
  assert len(answers) > 10
  sections = base().to_dict().items()
  keys = [f"{name}.{key}" for name, part in sections if isinstance(part, dict) for key in part]
  for key in ("seed", *keys):
    try:
      told = check_workdir(changed(key, data), workdir)
    except UserError as error:
      told, may = str(error), False
      assert f"holds another run ({key}" in told
    else:
      may = True
      assert len(told) == 1 and told[0].startswith(key)
    pattern = max((p for p in answers if fnmatch.fnmatchcase(key, p)), key=len)
    # The average of this run is 0, which stays.
    assert may == (answers[pattern] and key != "train.ema_decay"), key


def test_a_moving_average_may_become_another(data, tmp_path):
  workdir = str(tmp_path / "run")
  settle_config(make_config({"train.ema_decay": 0.5}, data), workdir)
  os.mkdir(f"{workdir}/tokenizer")
  config = make_config({"train.ema_decay": 0.75}, data)
  assert check_workdir(config, workdir) == ["train.ema_decay: 0.5 -> 0.75"]


def test_a_model_of_another_library_is_not_overwritten(data, tmp_path):
  (tmp_path / "config.json").write_text('{"model_type": "bart"}')
  assert "holds a model of another library" in refused(make_config(folder=data), str(tmp_path))
  with pytest.raises(UserError), opened(make_config(folder=data), str(tmp_path)):
    pass
  assert os.path.exists(tmp_path / "config.json")


def test_a_run_that_fails_before_it_has_made_anything_leaves_nothing(data, workdir, tmp_path):
  config, new = make_config(folder=data), tmp_path / "runs" / "new"
  with pytest.raises(UserError), opened(config, str(new)):
    assert sorted(os.listdir(new)) == ["config.json", "lock"]
    raise UserError("no pair is left")
  assert not os.path.exists(tmp_path / "runs")
  with pytest.raises(UserError), opened(config, workdir):
    raise UserError("too many steps were skipped")
  assert sorted(os.listdir(workdir)) == ["config.json", "tokenizer"]


def taken(workdir):
  raise InUseError(f"{workdir} is in use")


def test_an_evaluation_beside_a_training_is_shown_and_not_recorded(
  data, workdir, monkeypatch, capsys
):
  run = types.SimpleNamespace(step=4, params={}, evaluate=lambda *_: ({"chrf": 12.5}, []))
  monkeypatch.setattr(evaluate, "load", lambda *_, **__: run)
  monkeypatch.setattr(evaluate, "locked", taken)
  assert evaluate.evaluate(make_config(folder=data), workdir) == 0
  err = capsys.readouterr().err
  assert "12.5" in err and err.splitlines()[-1] == f"not recorded: {workdir} is in use"
  assert sorted(os.listdir(workdir)) == ["config.json", "tokenizer"]


def test_a_training_without_a_finite_validation_has_no_best_checkpoint():
  config, none = make_config(), Counters(evaluated=4, finite=False)
  with pytest.raises(UserError, match="there is no best checkpoint: loss was never finite"):
    check_end(config, none, checkpoints=2)
  check_end(config, Counters(evaluated=4, finite=False, best_step=2, best_value=1.0), 2)
  check_end(config, Counters(evaluated=4), 2)  # of another metric that was not looked at
  config.evaluate.checkpoint = "latest"
  check_end(config, none, checkpoints=2)


def test_too_few_checkpoints_to_average_are_told(capsys):
  config = make_config({"evaluate.checkpoint": "average", "train.keep_checkpoints": 5})
  check_end(config, Counters(), checkpoints=1)
  told = "averaging 1 checkpoint(s), because there are fewer than 5\n"
  assert capsys.readouterr().err == told
  check_end(config, Counters(), checkpoints=6)
  assert capsys.readouterr().err == ""


def test_a_workdir_in_use_is_not_touched(data, workdir, monkeypatch):
  monkeypatch.setattr("tfx_jax.cli.workdir.locked", taken)
  with pytest.raises(InUseError), opened(make_config({"train.num_steps": 99}, data), workdir):
    pass
  assert config_files.read_config(workdir).train.num_steps == 12


def test_what_a_sweep_looks_at_beforehand_changes_nothing(data, workdir):
  assert check_workdir(make_config(folder=data), workdir) == []
  assert check_workdir(make_config(folder=data), f"{workdir}/none") is None
  assert os.listdir(workdir) and not os.path.exists(f"{workdir}/none")

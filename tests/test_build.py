import collections
import functools
import inspect
import pathlib
import re
import sys
import types

import jax
import numpy as np
import pytest
from tiny_run import SETTINGS, make_config, write_pairs

from tfx_jax import build, commands, config_io, run
from tfx_jax import main as command_line
from tfx_jax.config import base
from tfx_jax.data.tokenizer import CharacterTokenizer
from tfx_jax.errors import UserError
from tfx_jax.layers import norm
from tfx_jax.run import EXAMPLE, count_parameters
from tfx_jax.training.state import plan_params

EXPERIMENTS = sorted((pathlib.Path(__file__).parent.parent / "experiments").glob("*.py"))
TOKENIZERS = (CharacterTokenizer("abcdef "), CharacterTokenizer("ABCDEF !?"))


def failure(function, *args):
  with pytest.raises(UserError) as info:
    function(*args)
  assert "\n" not in str(info.value)
  return str(info.value)


def keys(config):
  for name, value in config.items():
    yield from ([f"{name}.{key}" for key in value] if hasattr(value, "items") else [name])


def with_keys(changes, config=None):
  config = config or make_config()
  for key, value in changes.items():
    *section, name = key.split(".")
    (config[section[0]] if section else config)[name] = value
  return config


# Experiments


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_is_valid(path):
  build.validate(config_io.read_experiment(str(path)))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_runs(path, tmp_path, monkeypatch):
  monkeypatch.setattr(commands, "draw_curves", lambda workdir: None)
  write_pairs(tmp_path)
  tiny = {"data.format": "text", "task.metrics": "chrf", "train.num_steps": 2}
  tiny |= {f"data.{split}": f"{tmp_path}/{split}" for split in build.SPLITS}
  overrides = [f"--config.{key}={value}" for key, value in (SETTINGS | tiny).items()]
  workdir = tmp_path / "run"
  assert command_line.main([f"--config={path}", f"--workdir={workdir}", *overrides]) == 0
  assert (workdir / "checkpoints" / "2").is_dir()
  assert '"split": "test"' in (workdir / "metrics.jsonl").read_text().splitlines()[-1]


# Every key is read: another legal value makes something else.

OTHER = {
  "task.name": "os.path:Task",
  "task.metrics": ("chrf",),
  "task.bleu_tokenize": "char",
  "data.columns": ("de", "en"),
  "tokenizer.kind": "bpe",
  "tokenizer.joint": False,
  "model.architecture": "decoder",
  "model.num_kv_heads": 2,
  "model.head_dim": 16,
  "model.activation": "gelu",
  "model.norm": "rms_norm",
  "model.norm_placement": "post",
  "model.position": "rotary",
  "model.vocab_multiple": 16,
  "model.dropout": 0.2,
  "model.remat": "full",
  "model.dtype": "bfloat16",
  "optimizer.name": "adam",
  "optimizer.schedule": "constant",
  "train.best_metric": "perplexity",
  "generate.length_penalty_form": "power",
  "generate.num_return": 2,
  "mesh.data": 8,
  "mesh.fsdp": 2,
  "mesh.tensor": 2,
}
# Under which other settings a key means something.
WHERE = {
  "data.columns": {"data.format": "tsv"},
  "tokenizer.joint": {"model.share_embeddings": False},
  "model.max_positions": {"model.position": "learned"},
  "optimizer.momentum": {"optimizer.name": "sgd"},
  "optimizer.final_share": {"optimizer.schedule": "cosine"},
  "mesh.data": {"mesh.fsdp": -1},
}
# What the commands themselves read.
READ_BY_COMMANDS = (
  "train.decode_examples",
  "train.keep_checkpoints",
  "evaluate.checkpoint",
  "evaluate.split",
  "evaluate.num_samples",
  "generate.scores",
)


def other(key, value):
  """Another legal value."""
  if key in OTHER:
    return OTHER[key]
  match value:
    case bool():
      return not value
    case int():
      return 2 * value + 16
    case float():
      return value / 2 + 0.01
  return value + "x"


def portrait(config, monkeypatch):
  """All that is built from a configuration, or is told to who builds it, as text."""
  told = []

  def spy(name, result=None, keep=lambda *args, **settings: (args, settings)):
    def spied(*args, **settings):
      told.append((name, keep(*args, **settings)))
      return result

    monkeypatch.setattr(build, name, spied)

  class Pairs:
    fingerprint = "f"

    def __iter__(self):
      return iter(())

  spy("open_reader", Pairs())
  spy("train_tokenizer", TOKENIZERS[0], lambda texts, **settings: settings)
  spy("load_tokenizer", TOKENIZERS[0])
  corpus = types.SimpleNamespace(report=collections.defaultdict(int))
  spy("prepare", corpus, lambda examples, *args, **settings: (args[0], settings))
  spy("Loader", None, lambda corpus, *args: args)
  spy("make_train_step", None, lambda model, optimizer, schedule, *args, **more: (args, more))
  monkeypatch.setattr(CharacterTokenizer, "save", lambda self, folder: told.append(folder))
  for split in build.SPLITS:
    build.make_corpus(config, split, TOKENIZERS)
  build.make_loader(config, None)
  build.make_tokenizers(config, "no such folder")
  build.make_step(config, None, None, None)
  optimizer, schedule = build.make_optimization(config)
  told.append([float(schedule(step)) for step in (0, 10_000, 90_000)])
  told.append(jax.tree.map(lambda x: x.tolist(), updates(optimizer)))
  told += [build.make_task(config), build.make_timetable(config)]
  told += [build.make_generate_settings(config), build.make_parallel(config).sizes]
  told.append(build.make_model(config, TOKENIZERS))
  return re.sub(r" at 0x\w+", "", repr(told))


def updates(optimizer):
  """Two of them, the first from a gradient that is clipped."""
  params = {"kernel": np.full(2, 0.5, np.float32)}
  state, found = optimizer.init(params), []
  for size in (1e2, 1e-8):
    update, state = optimizer.update({"kernel": np.full(2, size, np.float32)}, state, params)
    found.append(update["kernel"])
  return found


@pytest.fixture(scope="module")
def usual():
  with pytest.MonkeyPatch.context() as patch:
    return portrait(make_config(), patch)


def test_the_same_configuration_makes_the_same(usual, monkeypatch):
  assert portrait(make_config(), monkeypatch) == usual


@pytest.mark.parametrize("key", list(keys(base())))
def test_every_key_is_read(key, usual, monkeypatch):
  if key in READ_BY_COMMANDS:
    assert f"config.{key}" in inspect.getsource(commands) + inspect.getsource(run)
    return
  where = WHERE.get(key, {})
  value = functools.reduce(lambda place, name: place[name], key.split("."), make_config())
  changed = with_keys(where | {key: other(key, value)})
  if key in ("task.name", "model.architecture"):  # there is only one so far
    assert key in failure(build.validate, changed)
  else:
    before = portrait(with_keys(where), monkeypatch) if where else usual
    assert portrait(changed, monkeypatch) != before

"""Every experiment is valid, and runs."""

import pathlib
import re

import numpy as np
import pytest
from support.tiny_pictures import write_digits, write_folder
from support.tiny_run import SETTINGS, write_dialogues, write_pairs

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.cli import evaluate, train
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.config import base
from tfx_jax.config import files as config_files
from tfx_jax.config.experiment import read_experiment
from tfx_jax.config.override import override
from tfx_jax.errors import UserError
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.main import main
from tfx_jax.models.parameters import EXAMPLE
from tfx_jax.models.quantized import count_parameters
from tfx_jax.sources import scenes
from tfx_jax.training.state import plan_params

EXPERIMENTS = sorted((pathlib.Path(__file__).parent.parent / "experiments").glob("*.py"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_is_valid(path):
  config = read_experiment(str(path))
  validate(config)
  assert config_files.differences(base().to_dict(), config.to_dict()), "it is the defaults"


@pytest.mark.parametrize(
  "name",
  [
    *("mnist:grey", "mnist:sampled", "emoji:describe", "pictures:describe", "image_codes:pictures"),
    *("scenes:describe", "scenes:draw-decoder_only", "scenes:draw-masked"),
  ],
)
def test_its_other_tasks_are_valid(name):
  stem, argument = name.split(":")
  path = next(path for path in EXPERIMENTS if path.stem == stem)
  config = read_experiment(f"{path}:{argument}")
  validate(config)
  assert config_files.differences(read_experiment(str(path)).to_dict(), config.to_dict())


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_data_that_must_be_fetched_has_an_origin(path, tmp_path, monkeypatch):
  places = re.findall(r"environ\.get\(\"(\w+)\"", path.read_text())
  for place in places:
    monkeypatch.setenv(place, str(tmp_path))
  config = read_experiment(str(path))
  assert bool(places) == bool(config.data.origin)
  for words in (*places, *(["https://"] if places else [])):
    assert words in config.data.origin
  for split in builders.SPLITS if places else ():
    with pytest.raises(UserError, match=f"no (file|folder) .*data.{split}=.*https://"):
      builders.make_source(config, split)


def tiny_data(config, folder):
  """Settings that let a task read the tiny run's files."""
  task = builders.make_task(config)
  if "image" in builders.side_kinds(config):
    settings = {"data.source_length": 128, "data.target_length": 65, "train.best_metric": "loss"}
    if config.data.format == "idx":
      settings |= {"data.source_length": 2, "data.target_length": 99}
      settings |= {"generate.max_source_length": 3}
    if config.data.format == "pictures":
      settings |= {"image.size": "(8,8)", "data.target_length": 17}
    if config.model.architecture == "autoencoder":
      # It reads no setting of a search.
      names = ("beam_size", "max_length")
      settings |= {f"generate.{name}": getattr(GenerateSettings, name) for name in names}
      settings |= {"data.target_length": 128, "generate.max_source_length": 16}
    if not config.data.train:
      settings["data.train"] = f"{folder}/train"
    return settings
  if not task.has_source:
    return {"data.format": "lines"} | {f"data.{s}": f"{folder}/{s}.en" for s in builders.SPLITS}
  settings = {"data.format": "text", "task.metrics": "chrf"}
  settings |= {f"data.{split}": f"{folder}/{split}" for split in builders.SPLITS}
  if len(task.fields("train")) == 2:
    settings |= {"task.source": "en", "task.target": "de", "task.references": "()"}
  return settings


# Their code runs each time in another experiment, or in another test.
ALIKE = ("cnn_dailymail", "emoji", "image_codes", "lm1b", "multi30k", "pictures", "wmt")


@pytest.mark.parametrize(
  "path",
  [
    pytest.param(path, marks=pytest.mark.slow if path.stem in ALIKE else ()) for path in EXPERIMENTS
  ],
  ids=lambda path: path.stem,
)
def test_an_experiment_runs(path, tmp_path, monkeypatch):
  for command in (train, evaluate):
    monkeypatch.setattr(command, "draw_curves", lambda workdir: None)
  monkeypatch.setattr(scenes, "SIZES", {"train": 200, "validation": 6, "test": 6})
  write_pairs(tmp_path)
  write_digits(tmp_path)
  for split in builders.SPLITS:
    write_folder(tmp_path / split)
  for place in ("MNIST", "EMOJI"):
    monkeypatch.setenv(place, str(tmp_path))
  config = read_experiment(str(path))
  tiny = {"train.num_steps": 2} | tiny_data(config, tmp_path)
  if config.optimizer.name == "muon" and path.stem != "scenes":  # it takes long to compile
    tiny |= {"optimizer.name": "adamw", "optimizer.settings": {}}
  write_dialogues(tmp_path)
  overrides = [f"--config.{key}={value}" for key, value in (SETTINGS | tiny).items()]
  workdir = tmp_path / "run"
  assert main([f"--config={path}", f"--workdir={workdir}", *overrides]) == 0
  assert (workdir / "checkpoints" / "2").is_dir()
  assert '"split": "test"' in (workdir / "metrics.jsonl").read_text().splitlines()[-1]


@pytest.mark.parametrize("kind", ["digits", "binary", "sampled", "grey"])
def test_no_digit_is_dropped_and_none_loses_a_pixel(kind, tmp_path, monkeypatch):
  write_digits(tmp_path)
  monkeypatch.setenv("MNIST", str(tmp_path))
  config = read_experiment(f"{next(p for p in EXPERIMENTS if p.stem == 'mnist')}:{kind}")
  config.data.cache_dir = str(tmp_path / "cache")
  codecs = builders.make_codecs(config, str(tmp_path / "run"))
  assert codecs[1].element.vocab_size - codecs[1].element.others == 256
  for split, count in (("train", 38), ("validation", 2), ("test", 40)):
    report = builders.make_corpus(config, split, codecs).report
    assert report["pairs_kept"] == count and report["target_values"] == count * 784
  pictures = [example.target for example in builders.read_examples(config, "test", 5)]
  assert all(picture.shape == (28, 28, 1) for picture in pictures)
  decoded = codecs[1].decode(codecs[1].encode(pictures))
  assert all(map(np.array_equal, decoded, pictures))


@pytest.mark.parametrize(
  ("name", "file", "content"),
  [
    ("translate:small", "tsv", "word {0}\tWort {0}\n"),
    ("dialogue:own", "jsonl", '{{"dialogue": "A: Is it {0}?\\nB: No, it is not {0}."}}\n'),
    ("text:files", "txt", "It is number {0}.\n"),
    ("text:lines", "txt", "It is number {0}.\n"),
    ("text:jsonl", "jsonl", '{{"text": "It is number {0}."}}\n'),
  ],
)
def test_one_file_of_your_own_is_all_three_splits(name, file, content, tmp_path):
  path = tmp_path / f"mine.{file}"
  path.write_text("".join(map(content.format, range(60))))
  name, argument = name.split(":")
  experiment = next(str(path) for path in EXPERIMENTS if path.stem == name)
  config = read_experiment(f"{experiment}:{argument}")
  config.data.train = str(path)
  if file == "tsv":
    config.data.format = "tsv"
  validate(config)
  examples, targets = builders.make_task(config).examples, [set(), set(), set()]
  for found, split in zip(targets, builders.SPLITS, strict=True):
    for record in builders.make_source(config, split):
      found |= {example.target for example in examples(record)}
  train, validation, test = targets
  assert len("".join(train)) > 4 * len("".join(validation | test)) and validation and test
  assert not train & validation and not train & test and not validation & test


@pytest.mark.parametrize("architecture", ["encoder_decoder", "decoder_only"])
def test_dialogue_is_small_in_both_architectures(architecture):
  path = next(str(path) for path in EXPERIMENTS if path.stem == "dialogue")
  config = read_experiment(f"{path}:{architecture}")
  validate(config)
  assert config.model.architecture == architecture
  tokenizer = CharacterTokenizer("".join(map(chr, range(5000, 12_996))))
  assert tokenizer.vocab_size == config.tokenizer.vocab_size
  model = builders.make_model(config, (tokenizer, tokenizer))
  params = plan_params(model, EXAMPLE, builders.make_parallel(config))[0]
  assert 4e6 < count_parameters(params) < 6.05e6


def differences(argument):
  """What an argument of wmt.py changes."""
  path = next(str(path) for path in EXPERIMENTS if path.stem == "wmt")
  config = read_experiment(f"{path}:{argument}")
  validate(config)
  return set(config_files.differences(read_experiment(path).to_dict(), config.to_dict()))


def test_wmt_takes_words_in_any_order():
  assert differences("") == differences("wmt14,en-de,base") == differences("base,wmt14") == set()
  data = differences("wmt17")
  assert {line.split(":")[0] for line in data} == {f"data.{split}" for split in builders.SPLITS}
  direction = differences("de-en")
  assert {line.split(":")[0] for line in direction} == {"task.source", "task.target"}
  assert differences("de-en,big,wmt17") == data | direction | differences("big")


def test_wmt_has_the_sizes_of_the_paper():
  path = next(str(path) for path in EXPERIMENTS if path.stem == "wmt")
  for size, features, heads, wide, dropout, steps in (
    ("base", 512, 8, 2048, 0.1, 100_000),
    ("big", 1024, 16, 4096, 0.3, 300_000),
  ):
    config = read_experiment(f"{path}:{size}")
    model = config.model
    assert (model.features, model.num_heads, model.feed_forward) == (features, heads, wide)
    assert (model.dropout, config.train.num_steps) == (dropout, steps)
    _, schedule = builders.make_optimization(config)
    for step in (1, 10, 4000, 100_000):
      expected = features**-0.5 * min(step**-0.5, step * 4000**-1.5)
      assert float(schedule(step - 1)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
  ("argument", "told"),
  [
    ("wmt15", "'wmt15', did you mean 'wmt1"),
    ("big,en-dd", "'en-dd', did you mean 'en-de'?"),
    ("large", "'large'; known: wmt14, wmt17, en-de, de-en, base, big"),
    ("base,big", "choose one of base and big"),
  ],
)
def test_wmt_tells_a_wrong_word(argument, told):
  with pytest.raises(UserError) as info:
    differences(argument)
  assert told in str(info.value) and "\n" not in str(info.value)


def generate_options():
  """The options of each example of `tfx generate` on the page about trained runs."""
  page = pathlib.Path(__file__).parent.parent / "docs/using.md"
  text = page.read_text().replace("\\\n", " ")
  for line in text.splitlines():
    if "--mode=generate" in line or line.startswith(("tfx generate", "… ")):
      if options := re.findall(r"--config\.(generate\.\w+)(?:=(\"[^\"]*\"|\S+))?", line):
        yield [(key, value.strip('"') or "True") for key, value in options]


def test_what_the_page_generates_with_goes_with_the_quickstart():
  examples = [*generate_options()]
  assert [("generate.num_return", "4")] in examples and len(examples) > 5
  path = next(str(path) for path in EXPERIMENTS if path.stem == "quickstart")
  for options in examples:
    config = read_experiment(path)
    for key, value in options:
      override(config, key, value)
    validate(config)
  for number in (3, 4):
    settings = builders.make_generate_settings(read_experiment(path))
    assert settings.replace(num_return=number).width == number

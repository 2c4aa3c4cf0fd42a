import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds
from support.tiny_pairs import TinyPairs, TinyPictures, pairs
from support.tiny_run import SETTINGS

from tfx_jax.errors import UserError
from tfx_jax.main import main
from tfx_jax.sources import tfds as tfds_source
from tfx_jax.sources.formats import open_source

ROOT = pathlib.Path(__file__).parent.parent.parent
FIELDS = ("en", "de")
NESTED = ("pair.en", "pair.de")


def make(folder, config="de-en", file_format="array_record"):
  """Prepares the data set with TFDS's own tools; returns where the files are."""
  tfds.disable_progress_bar()
  builder = TinyPairs(config=config, data_dir=str(folder), file_format=file_format)
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=3))
  return pathlib.Path(builder.data_dir)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  for config in ("de-en", "nested"):
    make(folder, config)
  return folder


@pytest.fixture
def read(folder):
  def read(path, fields=FIELDS):
    return list(open_source("tfds", path, fields, tfds_dir=str(folder)))

  return read


def failure(function):
  with pytest.raises(UserError) as info:
    function()
  assert "\n" not in str(info.value)
  return str(info.value)


def in_order(records):
  return sorted(records, key=lambda record: tuple(record.values()))


@pytest.mark.parametrize("slice_size", [7, 200, 1024])
def test_a_split_is_read_whole(read, monkeypatch, slice_size):
  monkeypatch.setattr(tfds_source, "_SLICE", slice_size)
  assert in_order(read("tiny_pairs/de-en:train")) == in_order(pairs(200))
  assert in_order(read("tiny_pairs/de-en:1.0.0:test")) == in_order(pairs(20))


def test_splits_have_the_syntax_of_tfds(read):
  whole = read("tiny_pairs/de-en:train")
  assert read("tiny_pairs/de-en:train[:50%]") == whole[:100]
  assert read("tiny_pairs/de-en:train[50%:]") == whole[100:]
  assert read("tiny_pairs/de-en:train[-3:]") == whole[-3:]
  assert read("tiny_pairs/de-en:test+train[5:7]") == read("tiny_pairs/de-en:test") + whole[5:7]
  assert len(read("tiny_pairs/de-en:all")) == 220


def test_a_reader_can_be_read_again(folder):
  reader = open_source("tfds", "tiny_pairs/de-en:test", FIELDS, tfds_dir=str(folder))
  assert next(iter(reader)) == next(iter(reader))


def test_dotted_fields_reach_inside(read):
  expected = [{f"pair.{field}": pair[field] for field in FIELDS} for pair in pairs(20)]
  assert in_order(read("tiny_pairs/nested:test", NESTED)) == in_order(expected)


def test_labels_become_names_and_pictures_arrays(tmp_path):
  builder = TinyPictures(data_dir=str(tmp_path), file_format="array_record")
  tfds.disable_progress_bar()
  builder.download_and_prepare()
  records = list(open_source("tfds", "tiny_pictures", ("label", "image"), tfds_dir=str(tmp_path)))
  assert len(records) == len(TinyPictures.contents)
  for record in records:
    number = [np.array_equal(record["image"], x) for x in TinyPictures.contents].index(True)
    assert record["image"].dtype == np.uint8 and record["label"] == ("cat", "dog")[number % 2]


def test_the_only_split_need_not_be_named(tmp_path, monkeypatch):
  monkeypatch.setattr(TinyPairs, "contents", {"train": pairs(5)})
  make(tmp_path)
  assert len(list(open_source("tfds", "tiny_pairs/de-en", FIELDS, tfds_dir=str(tmp_path)))) == 5


def test_the_folder_is_that_of_tfds_unless_given(folder, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
  assert len(list(open_source("tfds", "tiny_pairs/de-en:test", FIELDS))) == 20
  monkeypatch.delenv("TFDS_DATA_DIR")
  monkeypatch.setenv("HOME", str(folder / "home"))
  expected = f"in {folder / 'home' / 'tensorflow_datasets'}: run python -c "
  assert expected in failure(lambda: open_source("tfds", "wmt17_translate/de-en:train", FIELDS))


def test_the_newest_version_is_read(tmp_path, monkeypatch):
  make(tmp_path)
  monkeypatch.setattr(TinyPairs, "VERSION", tfds.core.Version("1.1.0"))
  monkeypatch.setattr(TinyPairs, "contents", {"train": pairs(5)})
  make(tmp_path)
  for path, count in (("tiny_pairs/de-en:train", 5), ("tiny_pairs/de-en:1.0.0:train", 200)):
    assert len(list(open_source("tfds", path, FIELDS, tfds_dir=str(tmp_path)))) == count


def test_the_fingerprint_changes_with_the_content(folder, tmp_path, monkeypatch):
  def fingerprint(folder, path="tiny_pairs/de-en:train", fields=FIELDS):
    return open_source("tfds", path, fields, tfds_dir=str(folder)).fingerprint

  base = fingerprint(folder)
  shutil.copytree(folder, tmp_path / "copy")
  assert fingerprint(tmp_path / "copy") == base, "the folder is no content"
  monkeypatch.setattr(TinyPairs, "contents", {"train": pairs(200), "test": pairs(3)})
  make(tmp_path / "other split")
  assert fingerprint(tmp_path / "other split") == base, "nor is a split that is not read"
  others = [
    fingerprint(folder, f"tiny_pairs/de-en:{split}")
    for split in ("test", "train[:50%]", "train[50%:]", "all", "train+test")
  ]
  others += [
    fingerprint(folder, fields=FIELDS[::-1]),
    fingerprint(folder, "tiny_pairs/nested:train", NESTED),
  ]
  for name, train in (("longer", [*pairs(199), {"en": "é", "de": "d" * 99}]), ("more", pairs(201))):
    monkeypatch.setattr(TinyPairs, "contents", {"train": train, "test": pairs(20)})
    make(tmp_path / name)
    others.append(fingerprint(tmp_path / name))
  monkeypatch.setattr(TinyPairs, "contents", {"train": pairs(200), "test": pairs(20)})
  monkeypatch.setattr(TinyPairs, "VERSION", tfds.core.Version("1.0.1"))
  make(tmp_path / "version")
  others.append(fingerprint(tmp_path / "version"))
  assert len({base, *others}) == len(others) + 1


@pytest.mark.parametrize(
  ("path", "fields", "told"),
  [
    ("tiny_pairs/de-em:train", FIELDS, "TFDS knows no 'tiny_pairs/de-em', did you mean 'tiny_pa"),
    ("tiny_pears/de-en:train", FIELDS, "did you mean 'tiny_pairs/de-en'?"),
    ("tiny_pairs/de-en:2.0.0:train", FIELDS, "did you mean 'tiny_pairs/de-en'?"),
    ("wmt17_translat/de-en:train", FIELDS, "did you mean 'wmt17_translate'?"),
    ("wmt17_translate/de-em", FIELDS, "did you mean 'wmt17_translate/de-en'?"),
    ("qqqqqq", FIELDS, "TFDS knows no 'qqqqqq'; known: tiny_pairs/de-en, tiny_pairs/nested"),
    ("huggingface:glue", FIELDS, "TFDS knows no 'huggingface'"),
    ("/data/train", FIELDS, "'/data/train' names no TFDS data: use NAME[/CONFIG][:SPLIT]"),
    ("tiny_pairs/de-en:trian", FIELDS, "no split 'trian', did you mean 'train'?"),
    ("tiny_pairs/de-en:test+trian[:3]", FIELDS, "no split 'trian', did you mean 'train'?"),
    ("tiny_pairs/de-en", FIELDS, "has several splits: add one of :train, :test"),
    ("tiny_pairs/de-en:train[:x]", FIELDS, "tiny_pairs/de-en/1.0.0:train[:x]: Error parsing"),
    ("tiny_pairs/de-en:train[:999]", FIELDS, "incompatible with 200 examples"),
    ("tiny_pairs/de-en:train[7:7]", FIELDS, "tiny_pairs/de-en/1.0.0:train[7:7] is empty"),
    ("tiny_pairs/de-en:train", ("dee", "en"), "no field 'dee', did you mean 'de'?"),
    ("tiny_pairs/nested:train", ("pair.d",), "no field 'pair.d', did you mean 'de'?"),
    ("tiny_pairs/nested:train", ("pair.de.x",), "'pair.de.x': there is nothing inside a Text"),
    (
      "tiny_pairs/nested:train",
      ("pair",),
      "'pair' is not one text, label or picture but Translation",
    ),
    (
      "tiny_pairs/nested:train",
      ("words",),
      "'words' is not one text, label or picture but Sequence",
    ),
  ],
)
def test_what_is_not_there_is_told_at_once(folder, capfd, path, fields, told):
  assert told in failure(lambda: open_source("tfds", path, fields, tfds_dir=str(folder)))
  assert capfd.readouterr().out == ""


def test_data_that_is_not_prepared_is_told_with_a_command_that_prepares_it(tmp_path):
  place = tmp_path / "it's $HOME"

  def open_it():
    return open_source("tfds", "tiny_pairs/de-en:test", FIELDS, tfds_dir=str(place))

  message = failure(open_it)
  assert f"tiny_pairs/de-en is not prepared in {place}: run python -c " in message
  command = shlex.split(message.partition(": run ")[2].partition(" (to unpack")[0])
  environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
  subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True, env=environment)
  assert in_order(open_it()) == in_order(pairs(20))


def test_another_format_is_told(tmp_path):
  # TFDS writes TFRecord, its default, only with TensorFlow.
  for format in ("parquet", "tfrecord"):
    info = make(tmp_path, file_format="parquet") / "dataset_info.json"
    info.write_text(info.read_text().replace("parquet", format))
    message = failure(
      lambda: open_source("tfds", "tiny_pairs/de-en:train", FIELDS, tfds_dir=str(tmp_path))
    )
    assert f"{info.parent} is prepared as {format}, but only array_record is read" in message
    assert 'file_format="array_record").download_and_prepare()' in message


def test_damaged_files_are_told(folder, tmp_path):
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  place = tmp_path / "tiny_pairs" / "de-en" / "1.0.0"

  def open_it():
    return open_source("tfds", "tiny_pairs/de-en:train", FIELDS, tfds_dir=str(tmp_path))

  shard = max(place.glob("*train*"))
  shard.write_bytes(shard.read_bytes()[:1000])
  assert f"cannot read {place}: " in failure(lambda: list(open_it()))
  shard.unlink()
  assert "No such file" in failure(lambda: list(open_it()))
  (place / "dataset_info.json").write_text("{")
  assert f"{place.parent} is damaged: Failed to load JSON" in failure(open_it)


def test_tfds_itself_may_be_missing(monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
  message = failure(lambda: open_source("tfds", "tiny_pairs/de-en:train", FIELDS))
  assert "run pip install tensorflow-datasets importlib_resources" in message


def test_no_tensorflow_and_no_network_is_needed(folder, tmp_path):
  (tmp_path / "tensorflow.py").write_text("raise AssertionError('it was imported')")
  code = f"""
import socket, sys
def refuse(*_): raise AssertionError("the network was touched")
socket.socket.connect = socket.getaddrinfo = refuse
from tfx_jax.sources.formats import open_source
from tfx_jax.errors import UserError
print(len(list(open_source("tfds", "tiny_pairs/de-en:train", {FIELDS}, tfds_dir={str(folder)!r}))))
try:
  open_source("tfds", "wmt14_translate/de-en:train", {FIELDS}, tfds_dir={str(folder)!r})
except UserError as error:
  print(error)
print(*{{"tensorflow", "jax"}} & set(sys.modules))
"""
  found = subprocess.run(
    [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True,
    env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
  )  # fmt: skip
  count, message, loaded = found.stdout.split("\n")[:3]
  assert count == "200" and message.startswith("wmt14_translate/de-en is not prepared in ")
  assert loaded == "" and found.stderr == ""


def test_reading_holds_no_split_in_memory(tmp_path, monkeypatch):
  monkeypatch.setattr(TinyPairs, "contents", {"train": [{"en": "x" * 10_000, "de": "y"}] * 1000})
  make(tmp_path)
  reader = open_source("tfds", "tiny_pairs/de-en:train", FIELDS, tfds_dir=str(tmp_path))
  tracemalloc.start()
  monkeypatch.setattr(tfds_source, "_SLICE", 50)
  assert sum(1 for _ in reader) == 1000
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 3_000_000, "the text is 10 MB"


def test_a_data_set_names_no_module_to_import(folder, tmp_path, monkeypatch):
  shutil.copytree(folder, tmp_path / "copy")
  (tmp_path / "hidden_code.py").write_text("raise AssertionError('it was imported')")
  monkeypatch.syspath_prepend(str(tmp_path))
  for path in (tmp_path / "copy").glob("**/features.json"):
    text = path.read_text()
    assert '"tensorflow_datasets.core' in text
    path.write_text(re.sub(r'"tensorflow_datasets\.[.a-z_]*', '"hidden_code.', text))
  told = failure(
    lambda: open_source("tfds", "tiny_pairs/de-en:train", FIELDS, tfds_dir=str(tmp_path / "copy"))
  )
  assert "names hidden_code.Translation, which is not of TFDS" in told


def test_a_run_is_prepared_from_it(folder, tmp_path, capfd):
  parts = {"train": "train", "validation": "test[:50%]", "test": "test[50%:]"}
  settings = {f"data.{key}": f"tiny_pairs/de-en:{split}" for key, split in parts.items()}
  settings |= {"data.format": "tfds", "data.tfds_dir": folder}
  options = [f"--config.{key}={value}" for key, value in (SETTINGS | settings).items()]
  experiment = f"--config={ROOT / 'experiments' / 'translate.py'}"
  assert main([experiment, f"--workdir={tmp_path}", "--mode=prepare", *options]) == 0
  told = capfd.readouterr().out
  for split, count in (("train", 200), ("validation", 10), ("test", 10)):
    assert f'{split}: {{"format": 4, "pairs_read": {count}, "pairs_kept": {count},' in told
  assert os.listdir(tmp_path / "tokenizer") == ["joint"]

import json

import numpy as np
import pytest

from tfx_jax.common.picture_files import write_picture
from tfx_jax.errors import MissingFile, UserError
from tfx_jax.sources.formats import open_source


def picture(number):
  return np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8)


def write_metadata(folder, records):
  text = "\n".join(r if isinstance(r, str) else json.dumps(r) for r in records)
  (folder / "metadata.jsonl").write_text(text)


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "sub").mkdir()
  for number, name in enumerate(("a.png", "sub/b.png")):
    write_picture(str(tmp_path / name), picture(number))
  texts = [{"file_name": "a.png", "text": "one", "kind": "x"}, {"file_name": "sub/b.png"}]
  write_metadata(tmp_path, [texts[0], "", texts[1] | {"text": "two", "other": 3}])
  return tmp_path


@pytest.fixture
def classes(tmp_path):
  for number, name in enumerate(("cat/1.png", "cat/2.PNG", "dog/1.png")):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    write_picture(str(tmp_path / name), picture(number))
  (tmp_path / "cat" / "notes.txt").write_text("no picture")
  return tmp_path


def test_metadata_gives_the_texts_of_pictures(folder):
  first, second = open_source("pictures", str(folder), ["text", "image"])
  assert np.array_equal(first.pop("image"), picture(0))
  assert np.array_equal(second.pop("image"), picture(1))
  assert first == {"text": "one", "file_name": "a.png", "kind": "x"}
  assert second == {"text": "two", "file_name": "sub/b.png"}


def test_folders_are_classes(classes):
  records = list(open_source("pictures", str(classes), ["label", "image"]))
  assert [r["label"] for r in records] == ["cat", "cat", "dog"]
  for number, record in enumerate(records):
    assert np.array_equal(record["image"], picture(number))


def test_the_fingerprint_is_that_of_texts_and_pictures(folder):
  def fingerprint():
    return open_source("pictures", str(folder), ["text", "image"]).fingerprint

  first = fingerprint()
  assert fingerprint() == first
  write_picture(str(folder / "a.png"), picture(7))
  second = fingerprint()
  assert second != first
  write_metadata(folder, [{"file_name": "a.png", "text": "three"}])
  assert fingerprint() not in (first, second)


def test_bad_metadata_is_one_line_before_pictures_are_read(folder):
  for record, message in (
    ({"file_name": "none.png", "text": "x"}, "metadata.jsonl, line 1: no file .*none.png"),
    ({"file_name": "a.png"}, "line 1: no 'text'; known: file_name"),
    ({"text": "x"}, "line 1: no 'file_name'"),
    ({"file_name": "a.png", "text": 3}, "line 1: 'text' is not a text but int"),
    ({"file_name": "../a.png", "text": "x"}, "line 1: '../a.png' is not in"),
    ({"file_name": "/etc/hostname", "text": "x"}, "is not in"),
    ("[1]", "line 1: not an object"),
    ("{", "line 1: not JSON"),
  ):
    write_metadata(folder, [record])
    with pytest.raises(UserError, match=message) as error:
      open_source("pictures", str(folder), ["text", "image"])
    assert "\n" not in str(error.value)


def test_bad_folders_are_one_line(classes, tmp_path):
  with pytest.raises(MissingFile, match="no folder none"):
    open_source("pictures", "none", ["label"])
  with pytest.raises(UserError, match=r"no metadata.jsonl, so its fields are .* not 'text'"):
    open_source("pictures", str(classes), ["text", "image"])
  (classes / "bird").mkdir()
  with pytest.raises(UserError, match="bird has no pictures"):
    open_source("pictures", str(classes), ["label", "image"])
  (tmp_path / "new").mkdir()
  with pytest.raises(UserError, match=r"neither metadata.jsonl nor folders CLASS/\*.png"):
    open_source("pictures", str(tmp_path / "new"), ["label", "image"])


def test_a_damaged_picture_is_named(folder):
  (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:50])
  with pytest.raises(UserError, match=r"a\.png is damaged"):
    list(open_source("pictures", str(folder), ["text", "image"]))

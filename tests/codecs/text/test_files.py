import json

import pytest

from tfx_jax.codecs.text import files
from tfx_jax.errors import UserError

SPEC = {"kind": "sentencepiece", "fingerprint": "f"}


def failure(function):
  with pytest.raises(UserError) as info:
    function()
  assert "\n" not in str(info.value)
  return str(info.value)


def test_what_is_saved_is_read(tmp_path):
  folder = tmp_path / "new" / "folder"
  files.save(str(folder), SPEC, {files.MODEL: b"model"})
  files.save(str(folder), {"kind": "bytes"})
  assert json.loads(files.read(str(folder / files.SPEC))) == {"format": 1, "kind": "bytes"}
  assert files.read(str(folder / files.MODEL)) == b"model"
  assert len(list(folder.iterdir())) == 2


def test_a_failed_save_leaves_the_old_one_whole(tmp_path, monkeypatch):
  files.save(str(tmp_path), SPEC, {files.MODEL: b"old"})

  def save_new():
    files.save(str(tmp_path), {"kind": "new"}, {files.MODEL: b"new"})

  def full(descriptor):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(files.os, "fsync", full)
  assert "No space left" in failure(save_new)
  assert len(list(tmp_path.iterdir())) == 2
  assert json.loads(files.read(str(tmp_path / files.SPEC)))["kind"] == "sentencepiece"
  assert files.read(str(tmp_path / files.MODEL)) == b"old"


def test_a_place_that_cannot_be_used_is_told(tmp_path):
  (tmp_path / "file").write_text("")
  assert "cannot write" in failure(lambda: files.save(str(tmp_path / "file"), SPEC))
  assert "No such file" in failure(lambda: files.read(str(tmp_path / "none")))

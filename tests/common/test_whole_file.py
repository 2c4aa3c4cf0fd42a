"""A file is written whole or not at all, and no other file is touched."""

import os
import pathlib
import re
import stat
import threading

import pytest

from tfx_jax.common.whole_file import whole_file, write_whole

ROOT = pathlib.Path(__file__).parents[2]


def test_files_with_similar_names_stay(tmp_path):
  others = {name: f"my {name}" for name in ("x.tmp", "x~", ".x.tmp", "x.png.tmp")}
  for name, content in others.items():
    (tmp_path / name).write_text(content)
  write_whole(str(tmp_path / "x"), "ä\n")
  assert {path.name: path.read_text() for path in tmp_path.iterdir()} == others | {"x": "ä\n"}


def test_where_writing_fails_the_old_file_stays(tmp_path):
  path = tmp_path / "x"
  path.write_text("old")
  for error in (KeyboardInterrupt, OSError):
    with pytest.raises(error), whole_file(str(path)) as file:
      file.write(b"new")
      assert path.read_text() == "old"
      raise error
  assert os.listdir(tmp_path) == ["x"] and path.read_text() == "old"


def test_permissions_are_those_of_the_old_file_or_of_a_new_one(tmp_path):
  old, new, plain = (tmp_path / name for name in ("old", "new", "plain"))
  old.write_text("")
  old.chmod(0o640)
  for path in (old, new):
    write_whole(str(path), "x")
  plain.write_text("as any program makes it")
  modes = [stat.S_IMODE(path.stat().st_mode) for path in (old, new, plain)]
  assert modes == [0o640, modes[2], modes[2]]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_written_through(tmp_path, there):
  (tmp_path / "elsewhere").mkdir()
  target, link = tmp_path / "elsewhere" / "x", tmp_path / "link"
  if there:
    target.write_text("old")
  link.symlink_to("elsewhere/x")
  write_whole(str(link), "new")
  assert link.is_symlink() and target.read_text() == "new"
  assert os.listdir(tmp_path / "elsewhere") == ["x"]


def test_a_write_protected_file_is_not_replaced(tmp_path, monkeypatch):
  path = tmp_path / "x"
  path.write_text("old")
  monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
  with pytest.raises(PermissionError):
    write_whole(str(path), "new")
  assert path.read_text() == "old"


def test_of_several_who_write_at_once_one_is_there_whole(tmp_path):
  path = str(tmp_path / "x")
  contents = [letter * 100_000 for letter in "abcd"]
  threads = [threading.Thread(target=write_whole, args=(path, content)) for content in contents]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert pathlib.Path(path).read_text() in contents and os.listdir(tmp_path) == ["x"]


def test_no_other_code_makes_up_names_of_temporary_files():
  found = [
    str(path.relative_to(ROOT))
    for folder in ("tfx_jax", "benchmarks", "experiments")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if re.search(r"""\.tmp["']|os\.replace\(""", path.read_text())
  ]
  # The second puts a whole folder in its place.
  assert found == ["tfx_jax/common/whole_file.py", "tfx_jax/pretrained/export.py"]

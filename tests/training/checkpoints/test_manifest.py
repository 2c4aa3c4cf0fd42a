import json
import os

import pytest

from tfx_jax.training.checkpoints.manifest import MISSING, find_damage, write_manifest

CONTENTS = {"a": b"first", "sub/b": b"\0" * 3_000_000, "sub/deep/c": b""}


@pytest.fixture
def folder(tmp_path):
  for name, content in CONTENTS.items():
    os.makedirs((tmp_path / name).parent, exist_ok=True)
    (tmp_path / name).write_bytes(content)
  write_manifest(str(tmp_path))
  return tmp_path


def test_a_whole_folder_has_no_damage(folder):
  assert find_damage(str(folder)) is None
  (folder / "more").write_text("of somebody else")
  assert find_damage(str(folder)) is None
  assert sorted(os.listdir(folder)) == ["a", "manifest.json", "more", "sub"]


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("a", b"firsd", "a has other contents"),
    ("a", b"firs", "a has 4 bytes, not 5"),
    ("a", None, "a is missing"),
    ("sub/b", b"\0" * 2_000_000 + b"\1" + b"\0" * 999_999, "sub/b has other contents"),
    ("sub/deep/c", b"x", "sub/deep/c has 1 bytes, not 0"),
    ("sub/deep/c", None, "sub/deep/c is missing"),
    ("manifest.json", None, MISSING),
    ("manifest.json", b"", "manifest.json cannot be read"),
    ("manifest.json", b"[]", "manifest.json cannot be read"),
    ("manifest.json", b"\xff", "manifest.json cannot be read"),
  ],
)
def test_damage_is_named(folder, name, content, message):
  path = folder / name
  path.unlink() if content is None else path.write_bytes(content)
  assert find_damage(str(folder)) == message


def test_a_flipped_bit_of_the_manifest_is_detected(folder):
  whole = (folder / "manifest.json").read_bytes()
  for place in range(len(whole)):
    flipped = bytearray(whole)
    flipped[place] ^= 1 << place % 7
    (folder / "manifest.json").write_bytes(flipped)
    # A blank that became another one, or the like, means what it meant.
    assert find_damage(str(folder), read="none") or json.loads(flipped) == json.loads(whole)


def test_of_files_that_are_not_read_only_the_size_is_checked(folder):
  (folder / "a").write_bytes(b"firsd")
  assert find_damage(str(folder), read="sub") is None
  (folder / "a").write_bytes(b"f")
  assert find_damage(str(folder), read="sub") == "a has 1 bytes, not 5"

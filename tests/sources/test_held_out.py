"""Validation and test data held out from the training data."""

import itertools
import random
import subprocess
import sys

import numpy as np
import pytest

from tfx_jax.errors import UserError
from tfx_jax.sources.formats import open_source
from tfx_jax.sources.held_out import HeldOut, content_hash, hold_out

SPLITS = ("train", "validation", "test")
BOTH = SPLITS[1:]


class Records:
  """Records with two fields, all of whose texts are given."""

  fingerprint = "f"

  def __init__(self, *texts):
    self.texts = texts

  def __iter__(self):
    return iter([{"a": text, "b": text.upper()} for text in self.texts])


def divided(texts, held=BOTH, share=0.1):
  """The texts of each split, in order."""
  return {
    split: [record["a"] for record in HeldOut(Records(*texts), split, held, share)]
    for split in ("train", *held)
  }


WORDS = [f"word {i}" for i in range(2000)]


@pytest.mark.parametrize("held", [BOTH, ("validation",), ("test",)])
def test_each_record_is_in_one_split_and_the_share_is_about_right(held):
  parts = divided(WORDS, held)
  assert sorted(itertools.chain(*parts.values())) == sorted(WORDS)
  for split in held:
    assert 0.08 < len(parts[split]) / len(WORDS) < 0.12
  assert all(part == sorted(part, key=WORDS.index) for part in parts.values())


def test_equal_records_are_in_one_split():
  texts = random.Random(0).choices(WORDS[:300], k=2000)
  parts = [set(part) for part in divided(texts).values()]
  assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_other_records_and_another_order_move_none():
  def place(parts):
    return {text: split for split, part in parts.items() for text in part}

  before, shuffled = place(divided(WORDS[:500])), random.Random(1).sample(WORDS, 2000)
  after = place(divided(shuffled))
  assert all(after[text] == split for text, split in before.items())
  more = place(divided(WORDS, share=0.2))
  assert all(more[text] == split for text, split in place(divided(WORDS)).items() if split in BOTH)


@pytest.mark.parametrize("count", [3, 4, 5, 10])
def test_a_few_records_are_enough(count):
  for start in range(0, 200, count):
    parts = divided(WORDS[start : start + count] * 2, share=0.01)
    assert all(parts.values()) and sum(map(len, parts.values())) == 2 * count


@pytest.mark.parametrize("texts", [["a"] * 50, ["a", "b"]])
def test_too_few_different_records_are_one_line_that_names_the_keys(texts):
  with pytest.raises(UserError, match=r"^data\.train has too few .* data.validation and data.test"):
    divided(texts)


def test_the_end_of_a_single_file_is_held_out(tmp_path):
  path = tmp_path / "book.txt"
  path.write_text("".join(map(str, range(100))))

  def parts(held, name=path):
    source = open_source("files", str(name), ("t",))
    return ["".join(r["t"] for r in hold_out(source, s, held, 0.1)) for s in ("train", *held)]

  found = parts(BOTH)
  assert "".join(found) == path.read_text() and [len(part) for part in found] == [152, 19, 19]
  assert [len(part) for part in parts(("test",))] == [171, 19]
  half = parts(BOTH, f"{path}[:50%]")
  assert "".join(half) == path.read_text()[:95] and len(half[0]) == 76


def test_several_files_stay_whole(tmp_path):
  for word in WORDS[:10]:
    (tmp_path / word).write_text(word)
  source = open_source("files", str(tmp_path), ("t",))
  found = [[r["t"] for r in hold_out(source, split, BOTH, 0.1)] for split in SPLITS]
  assert sorted(itertools.chain(*found)) == WORDS[:10] and all(found)


def test_fingerprints_differ_with_what_is_held_out():
  settings = [(split, BOTH, 0.1) for split in SPLITS]
  settings += [("train", ("test",), 0.1), ("train", BOTH, 0.2)]
  prints = [hold_out(Records("a"), *setting).fingerprint for setting in settings]
  assert len(set(prints)) == len(settings)


def test_the_hash_is_that_of_the_content_in_every_process():
  records = [{"a": "x", "b": b"y"}, {"a": "xb", "b": b""}, {"a": np.arange(4)}, {"a": (1, 2.5)}]
  records.append({"a": np.arange(4).reshape(2, 2)})
  hashes = [content_hash(record) for record in records]
  assert len(set(hashes)) == 5
  assert content_hash(dict(reversed(records[0].items()))) == hashes[0]
  code = "from tfx_jax.sources.held_out import content_hash as h; print(h({'a': 'x', 'b': b'y'}))"
  found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert int(found.stdout) == hashes[0]

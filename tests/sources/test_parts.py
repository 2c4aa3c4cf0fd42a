"""Parts of data by percentage, for every format of files."""

import itertools
import json
from fractions import Fraction

import pytest

from tfx_jax.errors import UserError
from tfx_jax.sources.formats import open_source
from tfx_jax.sources.parts import Part, split_part

PARTS = ("[:80%]", "[80%:92.5%]", "[92.5%:]")
COUNT = 40


def texts(format, path, fields=("a", "b")):
  return [tuple(record[field] for field in fields) for record in open_source(format, path, fields)]


def write_pairs(folder, format):
  """Writes COUNT pairs; returns their path."""
  pairs = [(f"word {i}", f"Wort {i}") for i in range(COUNT)]
  path = str(folder / "all")
  if format == "text":
    for field, column in zip("ab", zip(*pairs, strict=True), strict=True):
      (folder / f"all.{field}").write_text("".join(f"{text}\n" for text in column))
  elif format == "tsv":
    (folder / "all").write_text("".join("\t".join(pair) + "\n" for pair in pairs))
  else:
    lines = [json.dumps(dict(zip("ab", pair, strict=True))) for pair in pairs]
    (folder / "all").write_text("\n\n".join(lines))
  return path, pairs


@pytest.mark.parametrize("format", ["text", "tsv", "jsonl"])
def test_parts_of_records_are_in_order_and_together_the_whole(tmp_path, format):
  path, pairs = write_pairs(tmp_path, format)
  parts = [texts(format, path + part) for part in PARTS]
  assert [*itertools.chain(*parts)] == texts(format, path) == pairs
  assert [len(part) for part in parts] == [32, 5, 3]


def test_each_of_several_paths_may_be_a_part(tmp_path):
  path, pairs = write_pairs(tmp_path, "tsv")
  (tmp_path / "lines").write_text("a\nb\nc\nd\n")
  assert texts("tsv", f"{path}[95%:],{path}[:5%]") == pairs[-2:] + pairs[:2]
  found = texts("files", f"lines:{tmp_path}/lines[50%:],files:{tmp_path}/lines[:25%]", ("a",))
  assert found == [("c",), ("d",), ("a\n",)]


def test_of_several_files_a_part_is_whole_files(tmp_path):
  for i in range(COUNT):
    (tmp_path / f"{i:02}.txt").write_text(f"text {i}")
  parts = [texts("files", f"{tmp_path}/*.txt{part}", ("a",)) for part in PARTS]
  assert [*itertools.chain(*parts)] == [(f"text {i}",) for i in range(COUNT)]
  assert [len(part) for part in parts] == [32, 5, 3]
  assert texts("files", f"{tmp_path}/07.txt[:50%]", ("a",)) == [("tex",)]


def test_an_empty_part_is_one_line_with_the_number(tmp_path):
  path, _ = write_pairs(tmp_path, "tsv")
  with pytest.raises(UserError, match=r"all\[50%:51%\] is empty: there are 40 records"):
    texts("tsv", f"{path}[50%:51%]")
  for name in "xyz":
    (tmp_path / f"{name}.txt").write_text(name)
  with pytest.raises(UserError, match=r"\*\.txt\[90%:95%\] is empty: there are 3 files"):
    texts("files", f"{tmp_path}/*.txt[90%:95%]", ("a",))


def test_the_fingerprint_of_a_part_changes_exactly_with_its_content(tmp_path):
  def fingerprint(path, format="tsv", fields=("a", "b")):
    return open_source(format, str(path), fields).fingerprint

  path, _ = write_pairs(tmp_path, "tsv")
  parts = [fingerprint(f"{path}{part}") for part in ("", *PARTS)]
  assert len(set(parts)) == 4
  assert [fingerprint(f"{path}{part}") for part in ("", *PARTS)] == parts
  with open(path, "a") as file:
    file.write("one\tmore\n")
  assert not {fingerprint(f"{path}{part}") for part in ("", *PARTS)} & set(parts)
  for name in "xyz":
    (tmp_path / f"{name}.txt").write_text(name)
  whole = fingerprint(f"{tmp_path}/[xy].txt", "files", ("a",))
  assert fingerprint(f"{tmp_path}/?.txt[:67%]", "files", ("a",)) == whole


def test_a_part_of_a_part_is_inside_it():
  _, outer = split_part("book[50%:90%]")
  inner = Part(Fraction(25), Fraction(75)).within(outer)
  assert (inner.start, inner.end) == (60, 80)

"""Whatever text a line can hold goes in and comes out, with as many lines and fields."""

import bz2
import gzip
import io
import json
import lzma
import sys
import tempfile
from types import SimpleNamespace

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tfx_jax.cli import chat, generate
from tfx_jax.cli.text_files import read_lines, writing
from tfx_jax.codecs.text.loading import load_tokenizer, train_tokenizer
from tfx_jax.codecs.text.tokenizer import ByteTokenizer
from tfx_jax.config import base
from tfx_jax.generation.generator import Hypothesis
from tfx_jax.report.metrics_log import MetricsLog
from tfx_jax.report.records import read_metrics
from tfx_jax.report.samples import write_samples
from tfx_jax.sources.formats import open_source
from tfx_jax.tasks.dialogue import Turn, turns

# What other readers take for the end of a line, for white space, quotes or nothing.
ODD = (
  "\0\t\r\x0b\x0c\x1a\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000\u200b\ufeff\ufffe\"'\\▁e\u0301🙂"
)
ONE = st.integers(0, 3).flatmap(  # mostly an odd one: of all characters they are few
  lambda kind: st.sampled_from(ODD + " ab") if kind else st.characters(exclude_categories=["Cs"])
)
ANY = st.lists(ONE, max_size=8).map("".join)
# A carriage return at the end would belong to the line's end.
LINE = ANY.map(lambda text: text.replace("\n", "").rstrip("\r"))
LINES = st.lists(LINE, min_size=1, max_size=6)
FEW = settings(max_examples=60, deadline=None, derandomize=True, database=None)
ENDS = st.sampled_from(["\n", "\r\n"])


def as_file(folder, lines, end="\n", mark="\ufeff"):
  """Writes lines, a byte order mark in front, which is none of the first line."""
  path = f"{folder}/file"
  with open(path, "wb") as file:
    file.write((mark + "".join(line + end for line in lines)).encode())
  return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return str(tmp_path_factory.mktemp("any"))


@FEW
@given(lines=LINES, end=ENDS)
def test_lines_of_files(folder, lines, end):
  path = as_file(folder, lines, end)
  assert [r["x"] for r in open_source("lines", path, ("x",))] == lines
  (whole,) = open_source("files", path, ("x",))
  assert whole["x"] == "".join(line + end for line in lines)


@FEW
@given(
  lines=LINES,
  end=ENDS,
  mark=st.sampled_from(["", "\ufeff"]),
  compress=st.sampled_from([bytes, gzip.compress, bz2.compress, lzma.compress]),
)
def test_input_from_a_file_and_from_standard_input(folder, lines, end, mark, compress):
  assume(mark or not lines[0].startswith("\ufeff"))
  path = as_file(folder, lines, end, mark)
  with open(path, "rb") as file:
    content = compress(file.read())
  with open(path, "wb") as file:
    file.write(content)
  assert read_lines(path) == lines
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="latin-1"))
    assert read_lines("-") == lines


@FEW
@given(lines=LINES, end=ENDS)
def test_turns_that_are_typed(folder, lines, end):
  content = ("\ufeff" + "".join(line + end for line in lines)).encode()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="latin-1"))
    assert list(chat.typed()) == [line.strip(" \t\r") for line in lines]


@FEW
@given(rows=st.lists(st.tuples(LINE, LINE), min_size=1, max_size=5), end=ENDS)
def test_columns_of_tsv(folder, rows, end):
  rows = [tuple(cell.replace("\t", "") for cell in row) for row in rows]
  path = as_file(folder, ["\t".join(row) for row in rows], end)
  found = open_source("tsv", path, ("a", "b"))
  assert [(r["a"], r["b"]) for r in found] == [(a, b.rstrip("\r")) for a, b in rows]


@FEW
@given(rows=st.lists(st.tuples(ANY, ANY), min_size=1, max_size=5), ascii=st.booleans(), end=ENDS)
def test_fields_of_json_lines(folder, rows, ascii, end):
  lines = [json.dumps({"a": {"b": x}, "c.d": y}, ensure_ascii=ascii) for x, y in rows]
  found = open_source("jsonl", as_file(folder, lines, end), ("a.b", "c.d"))
  assert [(r["a.b"], r["c.d"]) for r in found] == rows


@FEW
@given(said=st.lists(LINE, min_size=2, max_size=5))
def test_turns_of_a_dialogue(said):
  said = [text.strip(" \t\r") for text in said]
  assume(all(said) and "__eou__" not in "".join(said))
  text = "\n".join(f"{'AB'[place % 2]}: {words}" for place, words in enumerate(said))
  assert turns(text) == [Turn(place % 2 + 1, words) for place, words in enumerate(said)]


@pytest.fixture(scope="module")
def lossless():
  return train_tokenizer(["ab e"] * 9, "bpe", 266, 1.0, "lossless", True, 0)


@FEW
@given(texts=st.lists(ANY, min_size=1, max_size=4))
@example(texts=[ODD])
def test_tokenizers_that_lose_nothing(lossless, texts):
  assert ByteTokenizer().decode(ByteTokenizer().encode(texts)) == texts
  plain = [text.replace("\u2581", "") for text in texts]  # which is sentencepiece's own space
  assert lossless.decode(lossless.encode(plain)) == plain
  assume(any(texts))
  characters = train_tokenizer(texts, "characters", 1 << 20, 1.0, "lossless", False, 0)
  with tempfile.TemporaryDirectory() as place:
    characters.save(place)
    assert (again := load_tokenizer(place)).fingerprint == characters.fingerprint
  assert again.decode(again.encode(texts)) == texts


class Echo:
  """A run that writes what it reads, twice."""

  params, settings = None, SimpleNamespace(streams=True)
  codecs = (ByteTokenizer(), ByteTokenizer())

  def generator(self, params, texts, update):
    return [[Hypothesis(text, -1.0, -2.0, [])] * 2 if text.strip() else [] for text in texts]

  def stream(self, text, number, **_):
    yield from text


@FEW
@given(lines=LINES, mode=st.sampled_from(["", "scores", "stream"]))
@example(lines=[ODD, ODD], mode="scores")
def test_outputs_of_generate(folder, lines, mode):
  config = base()
  if mode:
    config.generate[mode] = True
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(generate, "load", lambda workdir, config: Echo())
    with writing(f"{folder}/out") as target:
      assert generate.generate(config, folder, lines, target) == 0
  with open(f"{folder}/out", "rb") as file:
    out = file.read().decode()
  plain = [line.replace("\t", " ").replace("\r", " ") for line in lines]
  if mode == "scores":
    rows = [row.split("\t") for row in out.split("\n")[:-1]]
    expected = [
      (str(number), rank, text)
      for number, text in enumerate(plain, 1)
      if text.strip()
      for rank in "12"
    ]
    assert [(row[0], row[1], row[4]) for row in rows] == expected
    assert all(len(row) == 5 for row in rows)
  else:
    assert out.endswith("\n")
    written = [line if line.strip() or mode else "" for line in plain]
    assert out[:-1].split("\n") == written


@settings(FEW, max_examples=10)
@given(texts=st.lists(ANY, min_size=1, max_size=4))
@example(texts=[ODD, "a\n\nb\n"])
def test_samples_and_metrics(texts):
  with tempfile.TemporaryDirectory() as workdir:
    write_samples(workdir, 1, "test", [{"source": text, "output": text} for text in texts], 1)
    with open(f"{workdir}/samples/1-test.txt", "rb") as file:
      content = file.read().decode()
    blocks = [
      "\n".join(
        f"{label}  {text.replace(chr(10), chr(10) + ' ' * 10)}"
        for label in ("  source", "  output")
      )
      for text in texts
    ]
    assert content == "\n\n".join(["samples of test, step 1", *blocks]) + "\n"
    log = MetricsLog(workdir)
    for step, text in enumerate(texts):
      log.write(step, "test", {"text": text})
    log.close()
    assert [line["text"] for line in read_metrics(workdir)] == texts
    with open(f"{workdir}/metrics.jsonl", "rb") as file:
      assert file.read().count(b"\n") == len(texts)

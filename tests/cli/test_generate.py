"""Generating from the command line: files, pipes, order."""

import io
import os
import signal
import sys

import pytest

import tfx_jax
from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.generation.generator import Hypothesis
from tfx_jax.main import main

TEXTS = ["ab", "", "cde fa", "  ", "f", " b"]


@pytest.fixture(scope="module")
def run(trained):
  return tfx_jax.load(trained[1])


def as_texts(hypotheses):
  return [best[0].text for best in hypotheses]


def generated(workdir, path, out, *options):
  arguments = [f"--workdir={workdir}", "--mode=generate", *options]
  assert main([*arguments, f"--input={path}", f"--output={out}"]) == 0
  return out.read_text() if out.exists() else None


@pytest.fixture
def inputs(tmp_path):
  path = tmp_path / "in.txt"
  path.write_bytes("\n".join(TEXTS).encode().replace(b"f\n", b"f\r\n"))
  return path


def test_mode_generate_keeps_order_and_empty_lines(trained, run, inputs, tmp_path, capsys):
  text = generated(trained[1], inputs, tmp_path / "out.txt")
  assert text.endswith("\n") and text[:-1].split("\n") == as_texts(run.generate(TEXTS))
  assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt"]
  (tmp_path / "out.txt.tmp").write_text("my own notes")
  inputs.write_bytes(b"\xef\xbb\xbfab\nab\n")  # with a byte order mark
  first, second = generated(trained[1], inputs, tmp_path / "out.txt").split("\n")[:2]
  assert first == second == run.generate(["ab"])[0][0].text
  assert (tmp_path / "out.txt.tmp").read_text() == "my own notes"
  inputs.write_bytes(b"\n\nab\n\n")  # a last line feed ends a line, and begins none
  text = generated(trained[1], inputs, tmp_path / "out.txt")
  assert text == "\n\n" + run.generate(["ab"])[0][0].text + "\n\n"
  inputs.write_bytes(b"")
  assert generated(trained[1], inputs, tmp_path / "out.txt") == ""
  assert capsys.readouterr().out == ""


def test_mode_generate_counts_unknown_characters(trained, inputs, tmp_path, capsys):
  inputs.write_text("ab\n\nHab\nab H!\n")
  generated(trained[1], inputs, tmp_path / "out.txt")
  line = "2 of 4 inputs hold characters that the tokenizer does not know: H !"
  assert capsys.readouterr().err.splitlines().count(line) == 1
  inputs.write_text("ab\n")
  generated(trained[1], inputs, tmp_path / "out.txt")
  assert "does not know" not in capsys.readouterr().err


def test_mode_generate_writes_scores_as_a_table(trained, run, inputs, tmp_path):
  text = generated(trained[1], inputs, tmp_path / "out", "--config.generate.num_return=2")
  rows = [line.split("\t") for line in text.splitlines()]
  expected = [
    [str(number), str(rank), f"{best.score:.6f}", f"{best.log_prob:.6f}", best.text]
    for number, hypotheses in enumerate(run.generate(TEXTS, num_return=2), 1)
    for rank, best in enumerate(hypotheses, 1)
  ]
  assert [row[:2] + row[4:] for row in rows] == [row[:2] + row[4:] for row in expected]
  for row, other in zip(rows, expected, strict=True):
    assert [float(x) for x in row[2:4]] == pytest.approx([float(x) for x in other[2:4]], abs=1e-5)
  text = generated(trained[1], inputs, tmp_path / "out", "--config.generate.scores")
  assert [line.split("\t")[:2] for line in text.splitlines()] == [
    [str(n), "1"] for n in range(1, 7)
  ]


def test_mode_generate_takes_rules_and_prints_no_empty_places(trained, inputs, tmp_path):
  options = ["--config.generate.num_return=2", "--config.generate.max_length=1"]
  text = generated(trained[1], inputs, tmp_path / "out", *options)
  # There is one output of one token, though two are asked for.
  assert [line.split("\t")[:2] for line in text.splitlines()] == [
    [str(n), "1"] for n in range(1, 7)
  ]
  options = ["--config.generate.prefix=DA", "--config.generate.forbidden=A,<unk>"]
  lines = generated(trained[1], inputs, tmp_path / "out", *options).split("\n")
  for source, line in zip(TEXTS, lines, strict=False):
    assert line.startswith("DA") and "A" not in line[2:] if source.strip() else line == ""


def test_mode_generate_goes_from_standard_input_to_standard_output(
  trained, run, capsys, monkeypatch
):
  stream = io.TextIOWrapper(io.BytesIO("ab\n\nä\u2028f".encode()), encoding="latin-1")
  monkeypatch.setattr(sys, "stdin", stream)
  assert main([f"--workdir={trained[1]}", "--mode=generate"]) == 0
  expected = as_texts(run.generate(["ab", "", "ä\u2028f"]))
  assert capsys.readouterr().out == "\n".join(expected) + "\n"


def test_an_output_never_breaks_a_line(trained, inputs, tmp_path, monkeypatch):
  """Bytes and characters may hold anything."""
  odd = Hypothesis("a\nb\tc\r", -1.0, -2.0, [4, EOS])
  monkeypatch.setattr(
    tfx_jax.generation.generator.Generator,
    "__call__",
    lambda self, params, texts, *_: [[odd] for _ in texts],
  )
  assert generated(trained[1], inputs, tmp_path / "out") == "a b c \n" * len(TEXTS)
  table = generated(trained[1], inputs, tmp_path / "out", "--config.generate.scores")
  assert [line.split("\t")[4] for line in table.split("\n")[:-1]] == ["a b c "] * len(TEXTS)


def test_a_device_or_a_pipe_is_written_to_and_not_replaced(trained, run, inputs, tmp_path):
  os.mkfifo(tmp_path / "pipe")
  reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
  generated_arguments = [f"--workdir={trained[1]}", "--mode=generate", f"--input={inputs}"]
  assert main([*generated_arguments, f"--output={tmp_path / 'pipe'}"]) == 0
  assert os.read(reading, 1 << 16).decode()[:-1].split("\n") == as_texts(run.generate(TEXTS))
  os.close(reading)
  assert sorted(os.listdir(tmp_path)) == ["in.txt", "pipe"]


class Left(io.StringIO):
  """Standard output whose reader has left."""

  def reconfigure(self, **_):
    pass

  def fileno(self):
    return 1

  def flush(self):
    raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_leaves_early_is_no_error(trained, inputs, capsys, monkeypatch):
  monkeypatch.setattr(sys, "stdout", Left())
  monkeypatch.setattr(os, "dup2", lambda *_: None)
  code = main([f"--workdir={trained[1]}", "--mode=generate", f"--input={inputs}"])
  monkeypatch.undo()
  assert code == 128 + signal.SIGPIPE
  assert "error" not in capsys.readouterr().err


def test_alignments_are_a_last_column_of_links_between_words(trained, run, inputs, tmp_path):
  found = run.generate(TEXTS, num_return=2)
  options = ["--config.generate.alignments", "--config.generate.num_return=2"]
  table = [
    line.split("\t")
    for line in generated(trained[1], inputs, tmp_path / "out", *options).split("\n")[:-1]
  ]
  flat = [
    (text, best) for text, hypotheses in zip(TEXTS, found, strict=True) for best in hypotheses
  ]
  assert [line[4] for line in table] == [best.text for _, best in flat]
  for (text, best), (*_, links) in zip(flat, table, strict=True):
    pairs = [tuple(map(int, link.split("-"))) for link in links.split()]
    if text.strip():
      (alignment,) = run.attention([text], [best.tokens])
      assert pairs == alignment.word_links()
    assert all(t < len(best.text.split()) for _, t in pairs)
    assert all(s < len(text.split()) for s, _ in pairs)
  plain = generated(trained[1], inputs, tmp_path / "out", "--config.generate.scores")
  assert {line.count("\t") for line in plain.splitlines()} == {4}


def test_a_cut_input_is_reported_once_with_alignments(trained, tmp_path, caplog):
  (tmp_path / "long").write_text("abcdefa" + "bcdef" * 4 + "\n")
  generated(trained[1], tmp_path / "long", tmp_path / "out", "--config.generate.alignments")
  lines = [record.getMessage() for record in caplog.records]
  assert lines == ["1 of 1 inputs cut to 8 tokens (generate.max_source_length): 1"]


def test_an_ensemble_generates(trained, inputs, tmp_path, capsys):
  workdir = trained[1]
  alone = generated(workdir, inputs, tmp_path / "out")
  together = "--config.generate.ensemble=@12,@latest"
  assert generated(workdir, inputs, tmp_path / "out", together) == alone
  capsys.readouterr()
  line = "--config.generate.ensemble=runs/nowhere"
  assert main([f"--workdir={workdir}", "--mode=generate", f"--input={inputs}", line]) == 2
  assert capsys.readouterr().err == (
    f"loading {workdir}\n"
    "error: generate.ensemble: runs/nowhere holds no run: there is no config.json in it\n"
  )


STREAM = ("--config.generate.stream", "--config.generate.search=sample")


def test_a_stream_writes_what_is_generated_line_by_line(trained, run, inputs, tmp_path):
  sampled = run.generate(TEXTS, search="sample")
  assert generated(trained[1], inputs, tmp_path / "out", *STREAM) == "".join(
    text + "\n" for text in as_texts(sampled)
  )


def test_a_stream_that_is_interrupted_leaves_whole_lines(trained, inputs, capsys, monkeypatch):
  def interrupted(self, params, text, number):
    yield from "xy" if number == 0 else "z"
    raise KeyboardInterrupt

  monkeypatch.setattr(tfx_jax.generation.generator.Generator, "stream", interrupted)
  code = main([f"--workdir={trained[1]}", "--mode=generate", f"--input={inputs}", *STREAM])
  out, err = capsys.readouterr()
  assert code == 128 + signal.SIGINT and out == "xy\n" and err.endswith("interrupted\n")


@pytest.mark.parametrize(
  ("options", "told"),
  [
    (["--config.generate.stream"], "generate.stream=True does not go with generate.beam_size=2"),
    ([*STREAM, "--config.generate.scores"], "generate.stream=True writes text alone"),
    ([*STREAM, "--config.generate.alignments"], "generate.stream=True writes text alone"),
  ],
)
def test_what_cannot_be_streamed_is_one_line(trained, inputs, capsys, options, told):
  assert main([f"--workdir={trained[1]}", "--mode=generate", f"--input={inputs}", *options]) == 2
  err = capsys.readouterr().err
  assert err.startswith(f"error: {told}") and err.count("\n") == 1

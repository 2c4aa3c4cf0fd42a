import contextlib
import json
import math
import os
import resource
import struct
import sys
import termios

import numpy as np
import pytest
from absl import logging

from tfx_jax import report
from tfx_jax.errors import UserError
from tfx_jax.report import MetricsLog, NoLog, Progress, write_samples


def shown_on_terminal(monkeypatch, columns, rows, write, encoding="utf-8"):
  """Returns what `write()` shows on a stderr that is a terminal of this size."""
  outer, inner = os.openpty()
  termios.tcsetwinsize(inner, (rows, columns))
  with open(outer, "rb", buffering=0) as reader:
    with open(inner, "w", encoding=encoding) as stream, monkeypatch.context() as patch:
      patch.setattr(sys, "stderr", stream)
      write()
    data = b""
    with contextlib.suppress(OSError):  # Linux's end of a terminal that was closed
      while chunk := reader.read(4096):
        data += chunk
  return data.decode(encoding)


def lines_of(workdir):
  text = (workdir / "metrics.jsonl").read_text()
  assert text == "" or text.endswith("\n")
  return [json.loads(line) for line in text.splitlines()]


def events_of(path):
  from tensorboardX.proto.event_pb2 import Event

  data, events = path.read_bytes(), []
  while data:  # a record: length, its checksum, the event, its checksum
    (size,) = struct.unpack("Q", data[:8])
    events.append(Event.FromString(data[12 : 12 + size]))
    data = data[16 + size :]
  return events


def test_a_line_holds_step_split_and_figures(tmp_path):
  log = MetricsLog(str(tmp_path / "new" / "run"))
  log.write(np.int64(3), "train", {"loss": np.float32(0.5), "tokens": np.int32(7), "note": "ä"})
  log.close()
  assert lines_of(tmp_path / "new" / "run") == [
    {"step": 3, "split": "train", "loss": 0.5, "tokens": 7, "note": "ä"}
  ]


def test_a_line_is_on_disk_before_any_flush(tmp_path):
  log = MetricsLog(str(tmp_path))
  log.write(1, "train", {"loss": 1.0})
  assert len(lines_of(tmp_path)) == 1
  log.close()


def test_not_finite_figures_are_null_with_a_note(tmp_path):
  log = MetricsLog(str(tmp_path))
  log.write(1, "train", {"loss": math.nan, "perplexity": np.float32(math.inf), "lr": 0.1})
  log.close()
  assert lines_of(tmp_path) == [
    {
      "step": 1,
      "split": "train",
      "loss": None,
      "perplexity": None,
      "lr": 0.1,
      "not_finite": {"loss": "nan", "perplexity": "inf"},
    }
  ]


def test_killed_and_resumed_gives_the_bytes_of_an_uninterrupted_run(tmp_path):
  def steps(log, first, last):
    for step in range(first, last):
      log.write(step, "train", {"loss": 1 / step})

  whole, killed = tmp_path / "whole", tmp_path / "killed"
  log = MetricsLog(str(whole))
  steps(log, 1, 9)
  log.close()
  log = MetricsLog(str(killed))
  steps(log, 1, 5)
  offset = log.flush()
  steps(log, 5, 7)
  log.close()
  with open(killed / "metrics.jsonl", "ab") as f:
    f.write(b'{"step": 7, "spl')
  log = MetricsLog(str(killed), resume_at=offset)
  assert log.flush() == offset
  log.close()  # killed again before the first step
  log = MetricsLog(str(killed), resume_at=offset)
  steps(log, 5, 9)
  log.close()
  assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_resumed_at_the_beginning_is_empty(tmp_path):
  log = MetricsLog(str(tmp_path))
  log.write(1, "train", {"loss": 1.0})
  log.close()
  log = MetricsLog(str(tmp_path), resume_at=0)
  assert log.flush() == 0
  log.close()


def test_opened_without_an_offset_appends_after_dropping_a_half_line(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\n{"step": 2, "sp')
  log = MetricsLog(str(tmp_path))
  log.write(1, "test", {"bleu": 30.0})
  log.close()
  assert [line["split"] for line in lines_of(tmp_path)] == ["train", "test"]


@pytest.mark.parametrize("content", ["", '{"step": 1, "split": "train"}\n'])
def test_a_log_shorter_than_at_the_checkpoint_is_kept_with_a_warning(
  tmp_path, monkeypatch, content
):
  warnings = []
  monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
  if content:
    (tmp_path / "metrics.jsonl").write_text(content)
  MetricsLog(str(tmp_path), resume_at=1000).close()
  assert (tmp_path / "metrics.jsonl").read_text() == content
  assert len(warnings) == 1 and f"{len(content)} bytes, 1000 when last saved" in warnings[0]


def test_tensorboard_gets_scalars_and_texts_and_hides_steps_done_again(tmp_path):
  from tensorboardX.proto.event_pb2 import SessionLog

  log = MetricsLog(str(tmp_path))
  log.write(10, "train", {"loss": 0.25})
  log.write(10, "test", {"bleu": 30.5, "bleu_signature": "nrefs:1"})
  offset = log.flush()
  (first,) = (tmp_path / "tensorboard").iterdir()
  events = [e for e in events_of(first) if e.summary.value]
  values = {v.tag: v for e in events for v in e.summary.value}
  assert [e.step for e in events] == [10, 10]
  assert values["train/loss"].simple_value == 0.25
  assert values["test/bleu"].simple_value == 30.5
  assert values["test/bleu_signature/text_summary"].tensor.string_val == [b"nrefs:1"]
  log.close()
  MetricsLog(str(tmp_path), resume_at=offset).close()
  (second,) = set((tmp_path / "tensorboard").iterdir()) - {first}
  (start,) = [e for e in events_of(second) if e.HasField("session_log")]
  assert (start.step, start.session_log.status) == (11, SessionLog.START)


def test_a_full_disk_is_one_line_and_loses_no_line(tmp_path):
  path = tmp_path / "metrics.jsonl"
  before = b'{"step": 1, "split": "train"}\n' * 40_000
  path.write_bytes(before)
  log = MetricsLog(str(tmp_path))
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
  try:
    with pytest.raises(UserError, match=f"cannot write to workdir {tmp_path}: ") as error:
      log.write(2, "train", {"loss": 1.0})
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="cannot write to workdir"):
      log.close()
    with pytest.raises(UserError, match="cannot write to workdir"):
      write_samples(str(tmp_path), 1, "test", [{"source": "x" * len(before) * 2}], 1)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert len(path.read_bytes()) == len(before) + 10
  log.close()
  MetricsLog(str(tmp_path)).close()
  assert path.read_bytes() == before


def test_a_file_where_the_workdir_should_be_is_one_line(tmp_path):
  (tmp_path / "run").write_text("")
  for call in (
    lambda: MetricsLog(str(tmp_path / "run")),
    lambda: write_samples(str(tmp_path / "run"), 1, "test", [], 1),
  ):
    with pytest.raises(UserError, match=f"cannot write to workdir {tmp_path / 'run'}"):
      call()


@pytest.mark.parametrize(("encoding", "block"), [("utf-8", "█"), ("ascii", "#")])
def test_a_terminal_gets_a_bar_it_can_show(monkeypatch, encoding, block):
  def write():
    progress = Progress(total=200, start=50)
    progress.update(100, {"loss": 2.31415, "learning_rate": 0.0012})
    progress.message("a line above")
    progress.update(101, {"tokens_per_second": 3214.2})
    progress.close()

  text = shown_on_terminal(monkeypatch, 80, 24, write, encoding)
  assert "\ra line above\r\n" in text
  last = text.split("\r")[-2]
  assert last.startswith(f" 50%|{block}")
  assert "| 101/200 [00:0" in last
  assert last.rstrip().endswith("] 3,214 tok/s loss 2.314 lr 0.0012")
  assert len(last) <= 80


def test_a_terminal_without_a_size_gets_plain_lines(monkeypatch):
  def write():
    progress = Progress(total=200)
    progress.update(100, {"loss": 2.0})
    progress.close()

  text = shown_on_terminal(monkeypatch, 0, 0, write)
  assert text.startswith(" 50% 100/200 [") and text.endswith("] loss 2.000\r\n")


def test_a_log_file_gets_few_plain_lines(monkeypatch, capsys):
  clock = [1000.0]
  monkeypatch.setattr(report.time, "monotonic", lambda: clock[0])
  progress = Progress(total=400, start=100, line_every_seconds=30)
  for step in range(101, 281):
    clock[0] += 1.0
    progress.update(step, {"loss": 2.0, "tokens_per_second": 1000.0})
  progress.message("hello")
  progress.update(285, {"loss": 1.5})
  progress.close()
  out, err = capsys.readouterr()
  assert out == ""
  lines = err.splitlines()
  assert len(lines) == 8 and "\r" not in err
  # 270 steps are left at one a second: the 100 of the earlier session do not count as fast.
  assert lines[0] == " 32% 130/400 [00:30<04:30] 1,000 tok/s loss 2.000"
  assert lines[6] == "hello"
  assert lines[7].startswith(" 71% 285/400 [03:00<01:55] ") and lines[7].endswith("loss 1.500")


def test_the_end_is_told_once(monkeypatch, capsys):
  clock = [0.0]
  monkeypatch.setattr(report.time, "monotonic", lambda: clock[0])
  progress = Progress(total=2, line_every_seconds=10)
  clock[0] = 20.0
  progress.update(2, {})
  progress.close()
  assert capsys.readouterr().err == "100% 2/2 [00:20<00:00]\n"


def test_an_early_end_measures_this_session_only(monkeypatch, capsys):
  clock = [0.0]
  monkeypatch.setattr(report.time, "monotonic", lambda: clock[0])
  progress = Progress(total=100, start=50)
  clock[0] = 20.0
  progress.update(60, {})
  progress.close()
  assert capsys.readouterr().err == " 60% 60/100 [00:20<01:20]\n"


def test_samples_are_all_in_the_file_and_few_on_the_terminal(tmp_path):
  rows = [
    {"source": f"Quelle {i}", "reference": "two\nlines", "prediction": "gut ✓"} for i in range(3)
  ]
  text = write_samples(str(tmp_path), 2000, "validation", rows, limit=1)
  assert os.listdir(tmp_path / "samples") == ["2000-validation.txt"]
  written = (tmp_path / "samples" / "2000-validation.txt").read_text(encoding="utf-8")
  assert written.startswith(text + "\n\n")
  assert [f"Quelle {i}" in written for i in range(3)] == [True] * 3
  assert text == (
    "samples of validation, step 2,000\n"
    "\n"
    "      source  Quelle 0\n"
    "   reference  two\n"
    "              lines\n"
    "  prediction  gut ✓"
  )


def test_a_process_that_does_not_write_shows_nothing_and_keeps_no_log(capsys, tmp_path):
  progress = Progress(10, line_every_seconds=0.0, shown=False)
  progress.update(1, {"loss": 1.0})
  progress.message("here")
  progress.close()
  log = NoLog()
  log.write(1, "train", {"loss": 1.0})
  assert log.flush() == 0
  log.close()
  assert capsys.readouterr() == ("", "") and not os.listdir(tmp_path)

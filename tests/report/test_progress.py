import contextlib
import os
import sys
import termios

import pytest

from tfx_jax.report import progress as module
from tfx_jax.report.progress import Progress


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
  monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
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
  assert lines[7].startswith(" 71% 285/400 [03:00<01:51] ") and lines[7].endswith("loss 1.500")


@pytest.mark.parametrize(
  ("total", "start", "step", "line"),
  [(2, 0, 2, "100% 2/2 [00:20<00:00]\n"), (100, 50, 60, " 60% 60/100 [00:20<?]\n")],
  ids=["the end", "an early end, of which nothing is known"],
)
def test_the_end_is_reported_once(monkeypatch, capsys, total, start, step, line):
  clock = [0.0]
  monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
  progress = Progress(total, start)
  clock[0] = 20.0
  progress.update(step)
  progress.close()
  assert capsys.readouterr().err == line


@pytest.mark.parametrize("terminal", [True, False])
def test_the_time_left_does_not_count_the_first_step_which_compiles(monkeypatch, capsys, terminal):
  clock = [0.0]
  monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

  def write():
    progress = Progress(total=120, start=10)
    for seconds, step in ((40.0, 11), (1.0, 12), (1.0, 13), (30.0, 20)):
      clock[0] += seconds
      progress.update(step)
    progress.close()

  if terminal:
    lines = shown_on_terminal(monkeypatch, 80, 24, write).split("\r")
    lines = [line for line in lines if "20/120" in line]
  else:
    write()
    lines = capsys.readouterr().err.splitlines()
    assert "11/120 [00:40<?]" in lines[0]
  assert "<05:55]" in lines[-1]  # 100 steps, at 9 in 32 seconds


def test_a_progress_that_is_not_shown_prints_nothing(capsys):
  progress = Progress(10, line_every_seconds=0.0, shown=False)
  progress.update(1, {"loss": 1.0})
  progress.message("here")
  progress.close()
  assert capsys.readouterr() == ("", "")

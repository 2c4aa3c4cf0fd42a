import io
import json
import math
import os
import resource
import struct
import subprocess
import sys

import numpy as np
import pytest
from absl import logging
from PIL import Image

from tfx_jax.errors import UserError
from tfx_jax.report.metrics_log import MetricsLog, NoLog
from tfx_jax.report.samples import write_samples


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


def test_tensorboard_shows_the_samples_that_were_drawn(tmp_path):
  picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
  write_samples(str(tmp_path), 3, "validation", [{"output": picture}], 1)
  log = MetricsLog(str(tmp_path))
  for step in (2, 3):
    log.write(step, "validation", {"loss": 1.0})
  log.close()
  (path,) = (tmp_path / "tensorboard").iterdir()
  shown = {
    (event.step, value.tag): value.image
    for event in events_of(path)
    for value in event.summary.value
    if value.HasField("image")
  }
  ((where, image),) = shown.items()
  assert where == (3, "validation/samples")
  content = (tmp_path / "samples" / "3-validation.png").read_bytes()
  assert image.encoded_image_string == content
  with Image.open(io.BytesIO(content)) as drawn:
    assert (image.width, image.height) == drawn.size


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
  assert len(warnings) == 1 and f"has {len(content)} bytes, but had 1000 when" in warnings[0]


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
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert len(path.read_bytes()) == len(before) + 10
  log.close()
  MetricsLog(str(tmp_path)).close()
  assert path.read_bytes() == before


def test_a_file_in_place_of_the_workdir_is_one_line(tmp_path):
  (tmp_path / "run").write_text("")
  with pytest.raises(UserError, match=f"cannot write to workdir {tmp_path / 'run'}"):
    MetricsLog(str(tmp_path / "run"))


def test_a_process_that_does_not_write_keeps_no_log(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  log = NoLog()
  log.write(1, "train", {"loss": 1.0})
  assert log.flush() == 0
  log.close()
  assert not os.listdir(tmp_path)


def test_a_log_does_not_import_torch_and_leaves_it_to_others(tmp_path):
  # A module of that name, so that the test also holds where PyTorch is not installed.
  (tmp_path / "torch.py").write_text("Tensor = object\n")
  code = (
    "import sys; from tfx_jax.report.metrics_log import MetricsLog; "
    "MetricsLog('run').close(); print('torch' in sys.modules); import torch; print(torch.Tensor)"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
  )
  assert done.stdout.split("\n")[:2] == ["False", "<class 'object'>"]

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfx_jax.cli.workdir import read_log
from tfx_jax.report.curves import draw_curves
from tfx_jax.report.metrics_log import MetricsLog
from tfx_jax.report.records import read_metrics, read_records
from tfx_jax.training.recorder import SkippedLog

GOOD = [{"step": step, "split": "train", "loss": 1.0} for step in (1, 2, 3)]
DAMAGE = {
  "garbage": b"garbage",
  "half": b'{"step": 4, "split": "tr',
  "no object": b"[1, 2]",
  "no step": b'{"split": "train"}',
  "step of text": b'{"step": "4", "split": "train"}',
  "not UTF-8": b'{"step": 4, "split": "\xff"}',
  "zeros": b"\0" * 100,
  "deep": b"[" * 100_000,
  "empty": b"",
}
FEW = settings(
  max_examples=30,
  deadline=None,
  derandomize=True,
  database=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def written(folder, *junk, name="metrics.jsonl"):
  """A file of good lines, junk after the first."""
  first, *others = (json.dumps(line).encode() for line in GOOD)
  (folder / name).write_bytes(b"".join(line + b"\n" for line in (first, *junk, *others)))


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_line_is_ignored_and_reported_once(tmp_path, kind, caplog):
  written(tmp_path, DAMAGE[kind])
  for _ in range(2):
    assert list(read_metrics(str(tmp_path))) == read_log(str(tmp_path)) == GOOD
  (message,) = {record.getMessage() for record in caplog.records}
  assert message == f"{tmp_path}/metrics.jsonl: damaged lines are ignored: 2"
  assert len(caplog.records) == 1


@FEW
@given(junk=st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b), max_size=8))
def test_no_junk_hides_a_whole_line(tmp_path, junk):
  written(tmp_path, *junk)
  assert list(read_metrics(str(tmp_path))) == GOOD


def test_a_line_without_its_end_is_none(tmp_path):
  written(tmp_path)
  with open(tmp_path / "metrics.jsonl", "ab") as file:
    file.write(json.dumps(GOOD[0]).encode())
  assert [record for _, record in read_records(str(tmp_path / "metrics.jsonl"))] == [*GOOD, None]
  assert read_log(str(tmp_path)) == GOOD


def test_a_damaged_log_is_drawn_and_continued(tmp_path):
  written(tmp_path, *DAMAGE.values())
  assert draw_curves(str(tmp_path)) is not None
  log = MetricsLog(str(tmp_path))
  log.write(4, "train", {"loss": 1.0})
  log.close()
  assert read_log(str(tmp_path)) == [*GOOD, {"step": 4, "split": "train", "loss": 1.0}]


def test_skipped_steps_are_truncated_and_damaged_lines_stay(tmp_path):
  written(tmp_path, *DAMAGE.values(), name="skipped.jsonl")
  SkippedLog(str(tmp_path), 2, lambda position: [])
  found = [record for _, record in read_records(str(tmp_path / "skipped.jsonl"))]
  assert found == [GOOD[0], *[None] * len(DAMAGE), GOOD[1]]


def test_no_file_has_no_records(tmp_path):
  assert read_log(str(tmp_path)) == []

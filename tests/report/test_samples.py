import os
import resource

import pytest

from tfx_jax.errors import UserError
from tfx_jax.report.samples import write_samples


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


def test_a_full_disk_is_one_line(tmp_path):
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
  try:
    with pytest.raises(UserError, match=f"cannot write to workdir {tmp_path}: ") as error:
      write_samples(str(tmp_path), 1, "test", [{"source": "x" * 100_000}], 1)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert "\n" not in str(error.value)


def test_a_file_in_place_of_the_workdir_is_one_line(tmp_path):
  (tmp_path / "run").write_text("")
  with pytest.raises(UserError, match=f"cannot write to workdir {tmp_path / 'run'}"):
    write_samples(str(tmp_path / "run"), 1, "test", [], 1)

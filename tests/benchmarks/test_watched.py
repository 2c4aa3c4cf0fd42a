import json
import os
import pathlib
import subprocess
import sys

import pytest
from support.tiny_run import write_experiment

WATCHED = pathlib.Path(__file__).parents[2] / "benchmarks" / "watched.py"


@pytest.mark.slow
def test_a_run_is_watched_and_left(tmp_path):
  arguments = [write_experiment(tmp_path), f"--workdir={tmp_path / 'run'}"]
  # Nothing is validated, so that there is little to compile.
  arguments += ["--config.train.eval_every=0", "--config.train.checkpoint_every=0"]
  done = subprocess.run(
    [sys.executable, WATCHED, "4", *arguments], capture_output=True, text=True, env=os.environ
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])
  assert found["steps"] == 4 and found["compilations"] == 1
  assert found["first_step_seconds"] > found["step_seconds"] > 0
  assert 0 < found["waiting_share"] < 1 and 0 < found["loader_share"] < 1
  assert found["target_tokens_per_second"] > 0
  # It was left before its end, and nothing was saved.
  assert not list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))


def test_a_run_that_ends_too_early_is_an_error(tmp_path):
  done = subprocess.run(
    [sys.executable, WATCHED, "2", f"--config={tmp_path / 'none.py'}"],
    capture_output=True,
    text=True,
  )
  assert done.returncode and "the run ended after 0 of 2 steps" in done.stderr
  assert "there is no file" in done.stderr

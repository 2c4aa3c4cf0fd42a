"""Runs of several processes on this machine."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from support.tiny_run import read_log

import tfx_jax
from tfx_jax.errors import UserError
from tfx_jax.main import main
from tfx_jax.runtime import processes
from tfx_jax.runtime.supervisor import RESTART

ROOT = str(pathlib.Path(__file__).parents[2])


def start(count, *arguments, program=("-m", "tfx_jax.main")):
  """The command, or another program, in so many processes of one device each."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  flags = os.environ["XLA_FLAGS"].split()
  flags += ["--xla_force_host_platform_device_count=1"]
  environment = os.environ | {"XLA_FLAGS": " ".join(flags), "PYTHONPATH": ROOT}
  return [
    subprocess.Popen(
      [
        sys.executable,
        *program,
        *arguments,
        f"--coordinator=localhost:{port}",
        f"--processes={count}",
        f"--process={index}",
      ],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]


def finish(started, code=0):
  """What each has said on standard output and error."""
  try:
    found = [process.communicate(timeout=900) for process in started]
  finally:
    for process in started:
      process.kill()
  assert [process.returncode for process in started] == [code] * len(started), found
  return found


def losses(workdir):
  """{(step, split): loss} of the log."""
  return {(line["step"], line["split"]): line["loss"] for line in read_log(workdir)}


def assert_the_same_run(workdir, whole):
  """Losses, and with them all the data that was read, and the parameters in the end."""
  expected = losses(whole)
  found = losses(workdir)
  assert found.keys() >= expected.keys()
  for key, loss in expected.items():
    assert found[key] == pytest.approx(loss, rel=2e-5), key
  one, other = (tfx_jax.load(str(place)).params for place in (workdir, whole))

  def close(path, a, b):
    # The gradient of keys' biases is zero, and Adam makes updates of its rounding.
    if [key.key for key in path][-2:] != ["key", "bias"]:
      np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4)

  jax.tree.map_with_path(close, one, other)


@pytest.fixture(scope="module")
def half(trained, tmp_path_factory):
  """Half of the run, by two processes: its workdir and what they have said."""
  workdir = tmp_path_factory.mktemp("two") / "run"
  said = finish(start(2, trained[0], f"--workdir={workdir}", "--config.train.num_steps=6"))
  return workdir, said


def test_two_processes_train_and_evaluate_as_one(trained, half, tmp_path):
  workdir, ((_, first), (_, second)) = half
  assert "step 6: validation" in first and "samples of test" in first
  assert second == ""  # one of them speaks
  found, expected = losses(workdir), losses(trained[1])
  for key in ((5, "train"), (6, "validation")):
    assert found[key] == pytest.approx(expected[key], rel=1e-5)
  copy = shutil.copytree(workdir, tmp_path / "run")
  assert main([f"--workdir={copy}", "--mode=evaluate"]) == 0
  lines = [line for line in read_log(copy) if line["split"] == "test"]
  (by_two, by_one), different = lines, {}
  for name, value in by_one.items():
    if by_two[name] != (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value):
      different[name] = by_two[name], value
  assert not different
  samples = [path / "samples" / "6-test.txt" for path in (workdir, copy)]
  assert samples[0].read_text() == samples[1].read_text()


def test_one_process_resumes_a_run_of_two(trained, half, tmp_path):
  copy = shutil.copytree(half[0], tmp_path / "run")
  assert main([trained[0], f"--workdir={copy}"]) == 0
  assert_the_same_run(copy, trained[1])


def test_all_processes_stop_at_one_step_if_one_gets_a_signal_before_the_first(trained, tmp_path):
  started = start(2, trained[0], f"--workdir={tmp_path / 'run'}", "--config.train.num_steps=9999")
  assert "connected" in started[1].stdout.readline()
  started[1].send_signal(signal.SIGTERM)
  (_, first), (_, second) = finish(started, RESTART)
  assert first.splitlines()[-1].startswith("stopped by SIGTERM at step ")
  assert "stopped" not in second
  (saved,) = os.listdir(tmp_path / "run" / "checkpoints")
  assert f"at step {int(saved):,};" in first


def test_an_evaluation_ends_at_once_on_a_signal_to_its_processes(trained):
  program = """
import sys, time
from tfx_jax.cli import evaluate
from tfx_jax.main import main

def load(*_, **settings):
  print("evaluating", flush=True)
  time.sleep(600)

evaluate.load = load
sys.exit(main())
"""
  started = start(2, f"--workdir={trained[1]}", "--mode=evaluate", program=("-c", program))
  for process in started:
    while process.stdout.readline() not in ("evaluating\n", ""):
      pass
  for process in started:
    process.send_signal(signal.SIGTERM)
  for _, message in finish(started, RESTART):
    assert message.splitlines()[-1] == "stopped by SIGTERM; run the same command again"


@pytest.mark.slow
def test_four_processes_resume_a_run_of_two(trained, half, tmp_path):
  copy = shutil.copytree(half[0], tmp_path / "run")
  finish(start(4, trained[0], f"--workdir={copy}"))
  assert_the_same_run(copy, trained[1])


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data", "tensor"])
def test_four_processes_train_as_one_however_they_divide_the_work(trained, tmp_path, mesh):
  """Where the vocabulary is split over processes, two of them read the same rows."""
  workdir = tmp_path / "run"
  mesh = ["--config.mesh.fsdp=2"] if mesh == "data" else ["--config.mesh.sequence=2"]
  mesh += ["--config.mesh.tensor=2"]
  text = tmp_path / "in.txt"
  text.write_text("ab c\n\nfed\n")
  finish(start(4, trained[0], f"--workdir={workdir}", *mesh))
  assert_the_same_run(workdir, trained[1])
  out = tmp_path / "out.txt"
  options = ["--mode=generate", f"--input={text}", f"--output={out}"]
  halved = [f"--config.mesh.{axis}=1" for axis in ("fsdp", "sequence")]
  finish(start(2, f"--workdir={workdir}", *options, *halved))
  by_many = out.read_text()
  assert main([f"--workdir={workdir}", *options]) == 0
  assert by_many == out.read_text() and by_many.count("\n") == 3


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("", 2), "need --coordinator=HOST:PORT"),
    (("", None, 0), "need --coordinator=HOST:PORT"),
    (("somewhere", 2, 0), "--coordinator=somewhere is not HOST:PORT"),
    (("host:1", 2), "--coordinator=host:1 needs --processes=N and --process=I"),
    (("host:1", 2, 2), "--process=2: use 0 to 1, for --processes=2"),
    (("auto",), "--coordinator=auto: "),
  ],
)
def test_contradictory_options_are_one_line(arguments, message):
  with pytest.raises(UserError) as info:
    processes.join(*arguments)
  assert message in str(info.value) and "\n" not in str(info.value)


def test_tasks_of_a_slurm_step_are_joined(monkeypatch):
  called = []
  monkeypatch.setattr(jax.distributed, "initialize", lambda *args: called.append(args))
  processes.join()
  assert not called
  step = {"JOB_ID": "7", "STEP_NODELIST": "n[1-2]", "NTASKS": "4", "PROCID": "1", "LOCALID": "1"}
  for name, value in step.items():
    monkeypatch.setenv(f"SLURM_{name}", value)
  processes.join()
  processes.join("host:99", 2, 1)
  assert called == [(), ("host:99", 2, 1)]
  monkeypatch.setenv("SLURM_NTASKS", "1")
  processes.join()
  assert len(called) == 2


def test_one_process_is_the_first_and_waits_for_nobody():
  assert processes.is_first() and not processes.several()
  processes.check_joined()
  with processes.first_goes_ahead("nothing"):
    pass


def test_processes_that_are_not_joined_are_an_error_of_one_line(monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 4)
  with pytest.raises(UserError, match="belong to 4 processes: give --coordinator=auto"):
    processes.check_joined()

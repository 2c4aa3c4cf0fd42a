"""What a step would take, for devices that are not there."""

import re

import pytest
from support.tiny_run import write_experiment

from tfx_jax.main import main


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
  return write_experiment(tmp_path_factory.mktemp("plan"))


def test_a_plan_says_what_is_reckoned_counted_and_compiled(experiment, capfd):
  options = ["--mode=plan", "--devices=16", "--config.mesh.tensor=2", "--config.mesh.fsdp=2"]
  options += ["--config.data.batch_size=16", "--config.train.ema_decay=0.9"]
  assert main([experiment, *options]) == 0
  out, err = capfd.readouterr()
  assert err.splitlines()[-1] == "compiling for 16 devices (data 4, fsdp 2, tensor 2)"
  lines = out.splitlines()
  assert re.findall(r"by \w+", lines[0]) == ["by formula", "by shape", "by XLA"]
  cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  rows = {row[0]: row[1:] for row in cells if len(row) == 4}
  counted = rows["parameters"]
  assert counted[0] == counted[1] != ""
  for name in ("parameters", "optimizer state", "moving average", "gradients"):
    assert rows[f"{name}, a device"][1].endswith(" MB")
  assert "the step compiled for 16 CPU devices" in out


@pytest.mark.parametrize(
  ("options", "told"),
  [
    (["--devices=0"], "--devices=0: use 1 or more"),
    (["--devices=6", "--config.mesh.data=4"], "mesh.data=4, mesh.fsdp=1"),
    (["--devices=3"], "mesh.slices * mesh.data * mesh.fsdp=3 does not divide data.batch_size"),
    (["--devices=8", "--config.lora.rank=2"], "lora.rank=2"),
  ],
)
def test_a_plan_that_cannot_be_is_one_line(experiment, options, told, capsys):
  assert main([experiment, "--mode=plan", *options]) == 2
  err = capsys.readouterr().err
  assert told in err and err.count("\n") == 1

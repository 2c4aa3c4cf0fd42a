"""Checkpoints of several processes, with real ones: saved by two, read by one and by four."""

import os
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

DEVICES = 8
PROCESS = """
import contextlib, json, sys
import jax
number, count, port, workdir, act = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
if count > 1:
  jax.distributed.initialize(f"localhost:{port}", count, number, initialization_timeout=60)
from support.saved_state import BATCH, OPTIMIZER, Kernel
from tfx_jax.parallel import Parallel
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from tfx_jax.training.checkpoints.checksum import checksums
from tfx_jax.training.state import plan_state

parallel = Parallel(data=1, fsdp=8)
init, shardings = plan_state(Kernel(), OPTIMIZER, 0, BATCH, parallel)
grow = parallel.jit(
  lambda state, step: jax.tree.map(lambda x: x + step.astype(x.dtype), state),
  out_shardings=shardings,
)
state = lambda step: grow(init(), jax.numpy.int32(step))
with contextlib.closing(Checkpoints(workdir)) as checkpoints:
  if act == "save":
    for step in (4, 8):
      checkpoints.save(state(step), {"best_step": step})
    found, step = state(8), 8
  else:
    found, progress = checkpoints.restore_newest(jax.eval_shape(init.jitted), shardings)
    step = int(found.step)
    assert progress == {"best_step": step}
assert jax.process_count() == count and jax.local_device_count() == 8 // count
assert checksums(found) == checksums(state(step))
print("RESULT " + json.dumps([step, checksums(found)]))
"""


def run(count, workdir, act):
  """What each of so many processes says in the end."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  here = os.path.dirname(os.path.abspath(__file__))
  flags = f"--xla_force_host_platform_device_count={DEVICES // count}"
  path = os.pathsep.join([here, *sys.path])
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", PROCESS, str(number), str(count), str(port), str(workdir), act],
      env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": path},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(count)
  ]
  outputs = [process.communicate(timeout=300) for process in processes]
  for out, err in outputs:
    assert "RESULT " in out, err[-3000:]
  return [line for out, _ in outputs for line in out.splitlines() if line.startswith("RESULT ")]


def test_saved_by_two_processes_and_read_by_one_and_by_four(tmp_path):
  saved = run(2, tmp_path, "save")
  assert len(set(saved)) == 1
  assert set(run(1, tmp_path, "restore")) == set(run(4, tmp_path, "restore")) == set(saved)
  # A damage that only the first process looks for is one for all of them.
  path = tmp_path / "checkpoints" / "8" / "state" / "_METADATA"
  path.write_text(path.read_text()[:100])
  results = run(4, tmp_path, "restore")
  assert len(results) == 4 and len(set(results)) == 1 and results[0].startswith("RESULT [4, ")
  assert os.listdir(tmp_path / "damaged") == ["8"]

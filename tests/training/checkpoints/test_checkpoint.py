import contextlib
import os
import shutil
import subprocess
import sys

import jax
import pytest
from support.saved_state import Run, bits

from tfx_jax.errors import UserError
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from tfx_jax.training.checkpoints.selection import restore_params


def folders(workdir):
  return sorted(os.listdir(workdir / "checkpoints"))


def test_a_state_comes_back_bit_for_bit(tmp_path, run):
  state = run.state(7)
  progress = {"best_step": 7, "best_value": 0.1 + 0.2, "position": [3, 141], "window": [1e-300, 2]}
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    assert checkpoints.latest() is None
    checkpoints.save(state, progress)
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    assert checkpoints.latest() == 7
    restored, restored_progress = checkpoints.restore(7, run.abstract, run.shardings)
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  assert bits(restored) == bits(state)
  assert restored_progress == progress
  jax.tree.map(
    lambda x, y: x.sharding.is_equivalent_to(y, x.ndim) or 1 / 0, restored, run.shardings
  )


def test_a_state_may_be_donated_while_it_is_saved(tmp_path, run):
  state = run.state(3)
  expected = bits(state)
  double = jax.jit(lambda state: jax.tree.map(lambda x: x * 2, state), donate_argnums=0)
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    checkpoints.save(state, {})
    for _ in range(3):
      state = double(state)
    checkpoints.wait()
    assert bits(checkpoints.restore(3, run.abstract, run.shardings)[0]) == expected


@pytest.mark.parametrize(
  ("best_of", "keep", "kept"),
  [
    ({1: None, 2: None, 3: None}, 1, ["2", "3"]),
    ({1: 1, 2: 1, 3: 1, 4: 1}, 1, ["1", "3", "4"]),
    # The best one that checkpoint 3 knows is there for as long as 3 is.
    ({1: 1, 2: 2, 3: 2, 4: 4}, 1, ["2", "3", "4"]),
    ({1: 1, 2: 2, 3: 2, 4: 4, 5: 4}, 1, ["4", "5"]),
    ({1: 1, 2: 2, 3: 2, 4: 2, 5: 2}, 2, ["2", "3", "4", "5"]),
  ],
)
def test_the_latest_and_the_best_are_kept(tmp_path, save, best_of, keep, kept):
  save(best_of, keep)
  assert folders(tmp_path) == kept


def test_the_best_is_kept_by_a_resumed_run(tmp_path, run, save):
  save({1: 1, 2: 2, 3: 2})
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    checkpoints.save(run.state(4), {"best_step": 4})
  assert folders(tmp_path) == ["2", "3", "4"]


def test_another_mesh_reads_the_same(tmp_path, run, save):
  save({6: 6})
  other = Run(data=4, tensor=2)
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    restored, _ = checkpoints.restore(6, other.abstract, other.shardings)
  params, _ = restore_params(str(tmp_path), "best", *other.params)
  assert bits(restored) == bits(run.state(6))
  assert bits(params) == bits(run.state(6).params)
  for kernel in (restored.params["kernel"], params["kernel"]):
    assert kernel.addressable_shards[0].data.shape == (8, 8)
  assert run.state(6).params["kernel"].addressable_shards[0].data.shape == (1, 16)


def test_leftovers_of_a_killed_save_are_ignored_and_removed(tmp_path, run, save):
  save({1: 1, 2: 1})
  for step in (3, 9):
    leftover = tmp_path / "checkpoints" / f"{step}.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "2", leftover)
  assert restore_params(str(tmp_path), "latest", *run.params)[1] == 2
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    assert checkpoints.latest() == 2
    checkpoints.save(run.state(3), {"best_step": 1})
    checkpoints.wait()
    assert bits(checkpoints.restore(3, run.abstract, run.shardings)[0]) == bits(run.state(3))
  assert folders(tmp_path) == ["1", "2", "3"]


def test_a_workdir_that_cannot_be_written_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"cannot write checkpoints to .*: Not a directory"):
    Checkpoints(str(tmp_path / "file"))


FULL_DISK = """
import resource, sys
from tfx_jax.errors import UserError
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from support.saved_state import Run

run, checkpoints = Run(fsdp=8), Checkpoints(sys.argv[1])
checkpoints.save(run.state(1), {"best_step": None})
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
  checkpoints.save(run.state(2), {"best_step": None})
  checkpoints.wait()
except UserError as error:
  print(error)
"""


def test_a_full_disk_is_reported_and_the_previous_checkpoint_stays(tmp_path, run):
  # In a process of its own: TensorStore's other threads go on complaining after the first error.
  result = subprocess.run(
    [sys.executable, "-c", FULL_DISK, str(tmp_path)],
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
  )
  assert result.stdout == f"cannot save to {tmp_path}/checkpoints: File too large\n"
  assert restore_params(str(tmp_path), "latest", *run.params)[1] == 1


@pytest.mark.parametrize(
  ("message", "reason"),
  [
    ("OUT_OF_RANGE: ... [os_error_code='28'] [tensorstore_spec='{}']", "No space left on device"),
    ("first line\nsecond line", "ValueError: first line"),
    ("", "ValueError: "),
  ],
)
def test_a_failed_save_is_reported_in_a_few_words(tmp_path, message, reason):
  def fail():
    raise ValueError(message)

  checkpoints = Checkpoints(str(tmp_path))
  checkpoints._saving = checkpoints._finisher.submit(fail)
  with pytest.raises(UserError) as error:
    checkpoints.wait()
  assert str(error.value) == f"cannot save to {tmp_path}/checkpoints: {reason}"


def test_too_small_a_disk_is_reported_before_anything_is_written(run, tmp_path, monkeypatch):
  checkpoints = Checkpoints(str(tmp_path))
  checkpoints.save(run.state(1), {})
  checkpoints.wait()
  usage = shutil.disk_usage(tmp_path)._replace(free=900_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
  with pytest.raises(UserError, match=r"needs 1.0 MB, the disk has 0.9 MB left$"):
    checkpoints.save(run.state(2), {})
  assert checkpoints.latest() == 1
  checkpoints.close()

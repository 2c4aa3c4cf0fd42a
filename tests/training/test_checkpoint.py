import contextlib
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tfx_jax.errors import UserError
from tfx_jax.layers import axes
from tfx_jax.parallel import Parallel
from tfx_jax.training.checkpoint import Checkpoints, read_progress, restore_params
from tfx_jax.training.optimizer import make_optimizer
from tfx_jax.training.state import plan_params, plan_state

OPTIMIZER = make_optimizer(lambda step: 0.1, "adamw", 1.0, weight_decay=0.1)
BATCH = {"inputs": np.zeros((1, 8), np.float32)}
HARD_TO_WRITE = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1 / 3, 3e38]


class Kernel(nn.Module):
  """A parameter that the meshes below split in different ways, and one that they do not."""

  @nn.compact
  def __call__(self, batch):
    init = nn.initializers.normal()
    kernel = axes.param(self, "kernel", init, (8, 16), (axes.EMBED, axes.MLP))
    bias = axes.param(self, "bias", lambda *_: jnp.array(HARD_TO_WRITE), (8,), (None,))
    return batch["inputs"] @ kernel + bias.sum()


class Run:
  """A state on a mesh, at any step, and what is needed to read it back."""

  def __init__(self, ema=False, **sizes):
    self.parallel = Parallel(**({"data": 1} | sizes))
    init, self.shardings = plan_state(Kernel(), OPTIMIZER, 0, BATCH, self.parallel, ema)
    self.abstract = jax.eval_shape(init.jitted)
    self.params = plan_params(Kernel(), BATCH, self.parallel)
    self._first = jax.device_get(init())

  def state(self, step):
    """Differs from step to step in all of its parts."""
    state = jax.tree.map(lambda x: x + x.dtype.type(step), self._first)
    return jax.device_put(state.replace(step=np.int32(step)), self.shardings)


@pytest.fixture(scope="module")
def run():
  return Run(fsdp=8)


@pytest.fixture
def save(tmp_path, run):
  def save(best_of, keep=1):
    """Saves the steps of a dict step -> best step so far."""
    with contextlib.closing(Checkpoints(str(tmp_path), keep)) as checkpoints:
      for step, best in best_of.items():
        checkpoints.save(run.state(step), {"best_step": best})

  return save


def bits(tree):
  return [(x.dtype, x.shape, np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)]


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


def test_the_progress_is_read_without_the_state(tmp_path, save):
  assert read_progress(str(tmp_path)) is None and not os.listdir(tmp_path)
  save({3: 3, 8: 3})
  assert read_progress(str(tmp_path)) == (8, {"best_step": 3})


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
    ({1: None, 2: None, 3: None}, 1, ["3"]),
    ({1: 1, 2: 1, 3: 1, 4: 1}, 1, ["1", "4"]),
    ({1: 1, 2: 2, 3: 2, 4: 4}, 1, ["4"]),
    ({1: 1, 2: 2, 3: 2, 4: 2, 5: 2}, 2, ["2", "4", "5"]),
  ],
)
def test_the_latest_and_the_best_are_kept(tmp_path, save, best_of, keep, kept):
  save(best_of, keep)
  assert folders(tmp_path) == kept


def test_the_best_is_kept_by_a_run_that_goes_on(tmp_path, run, save):
  save({1: 1, 2: 1})
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    _, progress = checkpoints.restore(2, run.abstract, run.shardings)
    checkpoints.save(run.state(3), progress)
  assert folders(tmp_path) == ["1", "3"]


@pytest.mark.parametrize(("which", "step"), [("latest", 5), ("best", 2), ("2", 2), ("5", 5)])
def test_parameters_of_the_checkpoint_asked_for(tmp_path, run, save, which, step):
  save({1: 1, 2: 2, 5: 2})
  params, found = restore_params(str(tmp_path), which, *run.params)
  assert found == step
  assert bits(params) == bits(run.state(step).params)


@pytest.mark.parametrize(
  ("last", "steps"), [(1, [6]), (2, [4, 6]), (3, [3, 4, 6]), (9, [1, 3, 4, 6])]
)
def test_an_average_is_the_mean_of_the_last(tmp_path, run, save, last, steps, caplog):
  save({1: 1, 2: 1, 3: 1, 4: 1, 6: 1}, keep=3)
  params, newest = restore_params(str(tmp_path), "average", *run.params, average_last=last)
  assert newest == 6
  expected = np.mean([run.state(step).params["kernel"] for step in steps], axis=0)
  np.testing.assert_allclose(params["kernel"], expected, rtol=1e-6)
  assert params["kernel"].sharding == run.params[1]["kernel"]
  assert ("4 checkpoints to average, not 9" in caplog.text) == (last == 9)


def test_the_moving_average_is_what_was_validated(tmp_path):
  run = Run(ema=True, fsdp=8)
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    for step, best in {1: 1, 2: 1}.items():
      state = run.state(step)
      shifted = jax.device_put(jax.tree.map(lambda x: x + 100, state.ema), run.shardings.ema)
      checkpoints.save(state.replace(ema=shifted), {"best_step": best})
  for which, step, shift in (("ema", 2, 100), ("best", 1, 100), ("latest", 2, 0), ("1", 1, 0)):
    params, found = restore_params(str(tmp_path), which, *run.params, ema=True)
    assert found == step
    np.testing.assert_allclose(
      params["kernel"], run.state(step).params["kernel"] + shift, rtol=1e-6
    )


def test_a_run_without_a_moving_average_says_so(tmp_path, run, save):
  save({1: 1})
  with pytest.raises(UserError, match=r"holds no moving average: it has train\.ema_decay=0$"):
    restore_params(str(tmp_path), "ema", *run.params)


def test_without_a_best_one_the_latest_is_used(tmp_path, run, save):
  save({1: None, 4: None}, keep=2)
  assert restore_params(str(tmp_path), "best", *run.params)[1] == 4


@pytest.mark.parametrize("which", ["3", "bets", "02", "²"])
def test_a_checkpoint_that_is_not_there_is_refused(tmp_path, run, save, which):
  save({1: 1, 2: 1})
  with pytest.raises(UserError) as error:
    restore_params(str(tmp_path), which, *run.params)
  told = (
    f"no checkpoint '{which}': set evaluate.checkpoint to best, latest, ema, average or one of "
    "the steps 1, 2"
  )
  assert str(error.value) == f"{tmp_path} holds {told}"


def test_a_best_checkpoint_that_was_deleted_is_told(tmp_path, run, save):
  save({1: 1, 2: 1})
  shutil.rmtree(tmp_path / "checkpoints" / "1")
  with pytest.raises(UserError, match=r"holds no checkpoint '1': .* steps 2$"):
    restore_params(str(tmp_path), "best", *run.params)


@pytest.mark.parametrize("folder", ["", "checkpoints"])
def test_a_workdir_without_checkpoints_is_refused(tmp_path, run, folder):
  (tmp_path / folder).mkdir(exist_ok=True)
  with pytest.raises(UserError, match=r"holds no checkpoints: train it first"):
    restore_params(str(tmp_path), "latest", *run.params)
  assert os.listdir(tmp_path) == [folder] * bool(folder)


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


def test_what_a_killed_save_leaves_is_ignored_and_removed(tmp_path, run, save):
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
  assert folders(tmp_path) == ["1", "3"]


def test_a_workdir_that_cannot_be_written_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"cannot write checkpoints to .*: Not a directory"):
    Checkpoints(str(tmp_path / "file"))


FULL_DISK = """
import resource, sys
from tfx_jax.errors import UserError
from tfx_jax.training.checkpoint import Checkpoints
from test_checkpoint import Run

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


def test_a_full_disk_is_told_and_the_checkpoint_before_it_stays(tmp_path, run):
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
  ("said", "told"),
  [
    ("OUT_OF_RANGE: ... [os_error_code='28'] [tensorstore_spec='{}']", "No space left on device"),
    ("first line\nsecond line", "ValueError: first line"),
    ("", "ValueError: "),
  ],
)
def test_a_failed_save_is_told_in_a_few_words(tmp_path, monkeypatch, said, told):
  def fail():
    raise ValueError(said)

  checkpoints = Checkpoints(str(tmp_path))
  monkeypatch.setattr(checkpoints._manager, "wait_until_finished", fail)
  with pytest.raises(UserError) as error:
    checkpoints.wait()
  assert str(error.value) == f"cannot save to {tmp_path}/checkpoints: {told}"


def test_a_disk_without_room_is_told_before_anything_is_written(run, tmp_path, monkeypatch):
  checkpoints = Checkpoints(str(tmp_path))
  checkpoints.save(run.state(1), {})
  checkpoints.wait()
  usage = shutil.disk_usage(tmp_path)._replace(free=900_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
  with pytest.raises(UserError, match=r"needs 1.0 MB, the disk has 0.9 MB left$"):
    checkpoints.save(run.state(2), {})
  assert checkpoints.latest() == 1
  checkpoints.close()

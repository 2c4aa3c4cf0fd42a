import contextlib
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.saved_state import Run, bits

from tfx_jax.errors import UserError
from tfx_jax.training.checkpoints import checkpoint
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from tfx_jax.training.checkpoints.restore import read_progress
from tfx_jax.training.checkpoints.selection import restore_params


def test_the_progress_is_read_without_the_state(tmp_path, save):
  assert read_progress(str(tmp_path)) is None and not os.listdir(tmp_path)
  save({3: 3, 8: 3})
  assert read_progress(str(tmp_path)) == (8, {"best_step": 3})


@pytest.mark.parametrize(("which", "step"), [("latest", 5), ("best", 2), ("2", 2), ("5", 5)])
def test_the_parameters_of_the_requested_checkpoint_are_returned(tmp_path, run, save, which, step):
  save({1: 1, 2: 2, 5: 2})
  params, found = restore_params(str(tmp_path), which, *run.params)
  assert found == step
  assert bits(params) == bits(run.state(step).params)


@pytest.mark.parametrize(
  ("last", "steps"), [(1, [6]), (2, [4, 6]), (3, [3, 4, 6]), (9, [1, 3, 4, 6])]
)
def test_an_average_is_the_mean_of_the_last(tmp_path, run, save, last, steps, caplog):
  save({1: 1, 2: 1, 3: 1, 4: 1, 6: 1}, keep=2)
  params, newest = restore_params(str(tmp_path), "average", *run.params, average_last=last)
  assert newest == 6
  expected = np.mean([run.state(step).params["kernel"] for step in steps], axis=0)
  np.testing.assert_allclose(params["kernel"], expected, rtol=1e-6)
  assert params["kernel"].sharding == run.params[1]["kernel"]
  assert not caplog.records  # training has reported their number


def test_best_returns_the_moving_average_if_there_is_one(tmp_path):
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
  message = (
    f"no checkpoint '{which}': set evaluate.checkpoint to best, latest, ema, average or one of "
    "the steps 1, 2"
  )
  assert str(error.value) == f"{tmp_path} holds {message}"


def test_a_deleted_best_checkpoint_is_reported(tmp_path, run, save):
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


def test_another_setting_is_named_and_is_no_damage(tmp_path, run):
  """If no file is damaged, other shapes are due to another setting."""
  old = {"model.features": 16, "optimizer.groups": ("a", "b")}
  with contextlib.closing(Checkpoints(str(tmp_path), settings=old)) as checkpoints:
    checkpoints.save(run.state(1), {"best_step": 1})
  new = old | {"model.features": 32}
  wider = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*x.shape[:-1], 32), x.dtype), run.params[0])
  with pytest.raises(UserError) as info:
    restore_params(str(tmp_path), "1", wider, run.params[1], settings=new)
  difference = "model.features=16, and the configuration makes it 32"
  message = f"was saved with {difference}: put the old setting"
  assert str(info.value) == f"{tmp_path / 'checkpoints' / '1'} {message} back"
  with pytest.raises(UserError, match=r"with the array params/bias: \[8\], .* makes it \[32\]"):
    restore_params(str(tmp_path), "1", wider, run.params[1], settings=old)
  other = jax.tree.map(lambda x: jnp.zeros((*x.shape[:-1], 32), x.dtype), run.abstract.params)
  abstract = run.abstract.replace(params=jax.eval_shape(lambda: other))
  with contextlib.closing(Checkpoints(str(tmp_path), settings=new)) as checkpoints:
    with pytest.raises(UserError, match=message):
      checkpoints.restore_newest(abstract, run.shardings)
  assert os.listdir(tmp_path) == ["checkpoints"]
  with contextlib.closing(Checkpoints(str(tmp_path), settings=new)) as checkpoints:
    # A setting that changes no array, and whole files: it is restored.
    state, progress = checkpoints.restore_newest(run.abstract, run.shardings)
  assert int(state.step) == 1 and progress == {"best_step": 1}


def test_other_shapes_are_no_damage_in_checkpoints_that_do_not_record_them(
  tmp_path, run, monkeypatch
):
  """Earlier versions saved neither shapes nor settings in `progress`."""
  monkeypatch.setattr(checkpoint, "SETTINGS", "nothing")
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    checkpoints.save(run.state(1), {})
  wider = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*x.shape[:-1], 32), x.dtype), run.params[0])
  with pytest.raises(UserError, match=r"with the array params/bias: \[8\], .* makes it \[32\]"):
    restore_params(str(tmp_path), "1", wider, run.params[1], settings={"model.features": 32})

"""Damage is detected, reported in one line, and the checkpoint not used."""

import contextlib
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from support.saved_state import Run, bits

from tfx_jax.cli.program import is_news
from tfx_jax.errors import UserError
from tfx_jax.parallel import Parallel
from tfx_jax.training.checkpoints import checkpoint
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from tfx_jax.training.checkpoints.manifest import MANIFEST, find_damage, write_manifest
from tfx_jax.training.checkpoints.restore import read_progress
from tfx_jax.training.checkpoints.selection import restore_params
from tfx_jax.training.checkpoints.verify import Damaged
from tfx_jax.training.state import TrainState


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 0x10
  path.write_bytes(content)


DAMAGES = {"truncated": truncate, "flipped": flip, "deleted": pathlib.Path.unlink}


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory):
  """A workdir with the checkpoints 4 and 8; not to be changed."""
  workdir = tmp_path_factory.mktemp("saved")
  with contextlib.closing(Checkpoints(str(workdir))) as checkpoints:
    for step in (4, 8):
      checkpoints.save(run.state(step), {"best_step": 4, "log_bytes": 10 * step})
  return workdir


@pytest.fixture
def workdir(saved, tmp_path):
  return pathlib.Path(shutil.copytree(saved, tmp_path / "run"))


def files(folder):
  return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def restore_newest(run, workdir):
  with contextlib.closing(Checkpoints(str(workdir))) as checkpoints:
    return checkpoints.restore_newest(run.abstract, run.shardings)


@pytest.mark.parametrize("damage", DAMAGES)
def test_if_any_file_is_damaged_the_previous_checkpoint_is_used(
  run, saved, tmp_path, damage, caplog
):
  names = files(saved / "checkpoints" / "8")
  assert len(names) > 12 and pathlib.Path("manifest.json") in names
  for number, name in enumerate(names):
    workdir = pathlib.Path(shutil.copytree(saved, tmp_path / str(number)))
    path = workdir / "checkpoints" / "8" / name
    DAMAGES[damage](path)
    caplog.clear()
    state, progress = restore_newest(run, workdir)
    assert int(state.step) == 4 and progress == {"best_step": 4, "log_bytes": 40}, name
    (line,) = [record.getMessage() for record in caplog.records if is_news(record)]
    assert line.startswith(f"checkpoint 8 is damaged ({name} "), line
    assert line.endswith(f": moved to {workdir}/damaged/8; 4 is used")
    assert "\n" not in line
  assert bits(state) == bits(run.state(4))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_requested_checkpoint_that_is_damaged_is_refused(run, saved, tmp_path, damage):
  for number, name in enumerate(files(saved / "checkpoints" / "8")):
    workdir = pathlib.Path(shutil.copytree(saved, tmp_path / str(number)))
    DAMAGES[damage](workdir / "checkpoints" / "8" / name)
    with pytest.raises(UserError) as error:
      restore_params(str(workdir), "8", *run.params)
    assert str(error.value).startswith(f"checkpoint 8 of {workdir} is damaged ({name} ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("which", ["latest", "average", "ema", "8"])
def test_a_damaged_checkpoint_is_refused_under_each_name(run, workdir, which):
  truncate(workdir / "checkpoints" / "8" / "state" / "_METADATA")
  with pytest.raises(UserError, match=r"^checkpoint 8 of .* is damaged \(state/_METADATA has"):
    restore_params(str(workdir), which, *run.params, average_last=2, ema=True)
  params, step = restore_params(str(workdir), "4", *run.params)
  assert step == 4 and bits(params) == bits(run.state(4).params)


def test_a_damaged_checkpoint_does_not_say_which_is_best(run, workdir):
  flip(workdir / "checkpoints" / "8" / "progress" / "metadata")
  with pytest.raises(UserError, match=r"^checkpoint 8 of .* is damaged \(progress/metadata has"):
    restore_params(str(workdir), "best", *run.params)
  assert read_progress(str(workdir)) == (4, {"best_step": 4, "log_bytes": 40})


def test_an_empty_folder_is_no_checkpoint(run, workdir, caplog):
  (workdir / "checkpoints" / "16").mkdir()
  state, _ = restore_newest(run, workdir)
  assert int(state.step) == 8
  assert "checkpoint 16 is damaged (manifest.json is missing" in caplog.text
  assert not os.listdir(workdir / "damaged" / "16")


def test_training_saves_at_the_step_of_a_damaged_checkpoint_again(run, workdir):
  truncate(workdir / "checkpoints" / "8" / "state" / "manifest.ocdbt")
  with contextlib.closing(Checkpoints(str(workdir))) as checkpoints:
    checkpoints.restore_newest(run.abstract, run.shardings)
    assert checkpoints.latest() == 4
    checkpoints.save(run.state(8), {"best_step": 8})
  state, progress = restore_newest(run, workdir)
  assert (int(state.step), progress) == (8, {"best_step": 8})
  assert bits(state) == bits(run.state(8))


def test_without_a_usable_checkpoint_training_does_not_start_afresh(run, workdir):
  flip(workdir / "checkpoints" / "8" / "_CHECKPOINT_METADATA")
  (workdir / "checkpoints" / "4" / "progress" / "metadata").unlink()
  with pytest.raises(UserError) as error:
    restore_newest(run, workdir)
  reasons = "(8: _CHECKPOINT_METADATA has other contents; 4: progress/metadata is missing)"
  assert str(error.value).startswith(
    f"no checkpoint of {workdir} is usable {reasons}: put back a copy"
  )
  assert sorted(os.listdir(workdir / "checkpoints")) == ["4", "8"]  # nothing is lost of it
  assert not (workdir / "damaged").exists()


def test_arrays_that_changed_before_the_manifest_was_written_are_detected(tmp_path):
  """The checksums of the devices alone, on arrays too large to be kept inside of an index."""
  parallel = Parallel()
  weights = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
  state = TrainState(jnp.zeros((), jnp.int32), {"a": weights[:32], "b": weights[32:]}, ())
  state = jax.device_put(state, parallel.replicated)
  shardings = jax.tree.map(lambda _: parallel.replicated, state)
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    checkpoints.save(state, {})
  folder = tmp_path / "checkpoints" / "0"
  errors = set()
  # Both arrays are in one file or each in one of its own, as it happens.
  for path in [path for path in files(folder) if (folder / path).stat().st_size > 20_000]:
    whole = (folder / path).read_bytes()
    for place in np.linspace(2_000, len(whole) - 2_000, 4).astype(int):
      flipped = bytearray(whole)
      flipped[place] ^= 1 << 3
      (folder / path).write_bytes(flipped)
      write_manifest(str(folder))
      with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
        with pytest.raises(Damaged) as error:
          checkpoints.restore(0, state, shardings)
      errors.add(str(error.value))
    (folder / path).write_bytes(whole)
  assert errors == {f"the array params/{name} is not what was saved" for name in "ab"}


def test_a_checkpoint_without_checksums_is_used_unverified(run, tmp_path, caplog, monkeypatch):
  monkeypatch.setattr(checkpoint, "CHECKSUMS", "nothing")
  monkeypatch.setattr(checkpoint, "write_manifest", lambda folder: None)
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    checkpoints.save(run.state(3), {"best_step": 3})
  state, _ = restore_newest(run, tmp_path)
  assert bits(state) == bits(run.state(3))
  params, _ = restore_params(str(tmp_path), "3", *run.params)
  assert bits(params) == bits(run.state(3).params)
  lines = [record.getMessage() for record in caplog.records if is_news(record)]
  assert lines == [f"{tmp_path}/checkpoints/3 was saved without checksums: it is not verified"] * 2


def test_a_first_checkpoint_without_its_manifest_is_used_if_its_arrays_are_right(run, workdir):
  shutil.rmtree(workdir / "checkpoints" / "4")
  (workdir / "checkpoints" / "8" / MANIFEST).unlink()
  state, _ = restore_newest(run, workdir)
  assert bits(state) == bits(run.state(8))
  assert find_damage(str(workdir / "checkpoints" / "8")) is None


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_devices_verify_the_same(run, workdir, count):
  names = run.parallel.mesh.axis_names
  shape = [count if name == "fsdp" else 1 for name in names]
  mesh = Mesh(np.array(jax.devices()[:count]).reshape(shape), names)
  shardings = jax.tree.map(lambda x: NamedSharding(mesh, x.spec), run.shardings)
  with contextlib.closing(Checkpoints(str(workdir))) as checkpoints:
    state, _ = checkpoints.restore_newest(run.abstract, shardings)
  assert bits(state) == bits(run.state(8))
  assert len(state.params["kernel"].addressable_shards) == count


def test_another_mesh_verifies_the_same(workdir):
  other = Run(data=2, fsdp=2, tensor=2)
  state, _ = restore_newest(other, workdir)
  assert bits(state) == bits(other.state(8))

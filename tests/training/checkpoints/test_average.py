"""The mean of several checkpoints is computed once, and only for as long as it is theirs."""

import os
import pathlib
import shutil

import jax
import numpy as np
import pytest
from support.saved_state import Run, bits

from tfx_jax.training.checkpoints import average, restore
from tfx_jax.training.checkpoints.average import FILE, origin_of, read_average
from tfx_jax.training.checkpoints.selection import restore_params


@pytest.fixture
def means(monkeypatch):
  """Steps of the means that were computed, in their order."""
  computed, restore_mean = [], restore.restore_mean

  def record(workdir, steps, *args):
    computed.append(list(steps))
    return restore_mean(workdir, steps, *args)

  monkeypatch.setattr(restore, "restore_mean", record)
  return computed


def target(run):
  return jax.tree.map(
    lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), *run.params
  )


def mean(run, workdir, last=2):
  return restore_params(str(workdir), "average", *run.params, average_last=last)[0]


def test_a_mean_is_computed_once(tmp_path, run, save, means):
  save({1: 1, 3: 1, 7: 1}, keep=2)
  first = mean(run, tmp_path, 3)
  kernels = [np.asarray(run.state(step).params["kernel"]) for step in (1, 3, 7)]
  expected = ((kernels[0] + kernels[1]) + kernels[2]) * np.float32(1 / 3)
  np.testing.assert_array_equal(first["kernel"], expected)
  again = mean(run, tmp_path, 3)
  assert means == [[1, 3, 7]] and bits(again) == bits(first)
  assert jax.tree.map(lambda x: x.sharding, again) == run.params[1]
  other = Run(fsdp=2, tensor=4)  # another mesh
  assert bits(mean(other, tmp_path, 3)) == bits(first) and means == [[1, 3, 7]]


def test_other_checkpoints_have_another_mean(tmp_path, run, save, means):
  save({1: 1, 3: 1, 7: 1}, keep=2)
  of_two, of_three = mean(run, tmp_path, 2), mean(run, tmp_path, 3)
  assert means == [[3, 7], [1, 3, 7]] and bits(of_two) != bits(of_three)
  save({8: 1}, keep=2)  # training goes on
  mean(run, tmp_path, 2), mean(run, tmp_path, 2)
  assert means[2:] == [[7, 8]]
  # The same steps of another training.
  shutil.rmtree(tmp_path / "checkpoints")
  save({6: 6, 7: 6}, keep=2)
  os.rename(tmp_path / "checkpoints" / "6", tmp_path / "checkpoints" / "8")
  mean(run, tmp_path, 2)
  assert means[3:] == [[7, 8]]


@pytest.mark.parametrize("which", ["latest", "best", "1", "average"])
def test_one_checkpoint_is_not_kept_twice(tmp_path, run, save, which):
  save({1: 1, 3: 1})
  restore_params(str(tmp_path), which, *run.params, average_last=1)
  assert os.listdir(tmp_path) == ["checkpoints"]


def test_no_damaged_byte_of_the_file_is_used(tmp_path, run, save):
  save({1: 1, 3: 1})
  expected = bits(mean(run, tmp_path))
  file, origin = tmp_path / FILE, origin_of(str(tmp_path), [1, 3])
  content = file.read_bytes()
  used = 0
  for place in range(len(content)):
    damaged = bytearray(content)
    damaged[place] ^= 0x10
    file.write_bytes(damaged)
    found = read_average(str(tmp_path), origin, target(run))
    assert found is None or bits(found) == expected, place
    used += found is not None
  assert used < len(content) / 4  # such as the time at which an array was written
  for size in range(0, len(content), 7):
    file.write_bytes(content[:size])
    assert read_average(str(tmp_path), origin, target(run)) is None


def test_a_damaged_file_is_replaced(tmp_path, run, save, means, caplog):
  save({1: 1, 3: 1})
  expected = bits(mean(run, tmp_path))
  file = tmp_path / FILE
  for content in (b"", file.read_bytes()[:-100]):
    file.write_bytes(content)
    assert bits(mean(run, tmp_path)) == expected
    assert bits(mean(run, tmp_path)) == expected
  assert means == [[1, 3]] * 3 and not caplog.records
  assert sorted(os.listdir(tmp_path)) == [FILE, "checkpoints"]


def test_arrays_of_other_shapes_are_not_used(tmp_path, run, save):
  save({1: 1, 3: 1})
  mean(run, tmp_path)
  origin = origin_of(str(tmp_path), [1, 3])
  assert read_average(str(tmp_path), origin, target(run)) is not None
  params = target(run)
  kernel = params["kernel"]
  for other in (
    {"bias": params["bias"]},
    params | {"scale": params["bias"]},
    params | {"kernel": kernel.update(shape=(16, 8))},
    params | {"kernel": kernel.update(dtype=np.float16)},
  ):
    assert read_average(str(tmp_path), origin, other) is None


class Evil:
  """Writes a file when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


def test_a_pickle_in_the_file_is_not_loaded(tmp_path, run, save):
  save({1: 1, 3: 1})
  expected = bits(mean(run, tmp_path))
  ran, origin = tmp_path / "ran", origin_of(str(tmp_path), [1, 3])
  evil = np.array(Evil(ran), dtype=object)
  with (tmp_path / FILE).open("wb") as file:
    np.savez(file, made_from=np.array(origin), bias=evil, kernel=evil)
  assert bits(mean(run, tmp_path)) == expected
  assert not ran.exists()
  with (tmp_path / FILE).open("wb") as file:
    np.savez(file, made_from=np.array(origin), bias=evil)
  np.load(tmp_path / FILE, allow_pickle=True)["bias"]
  assert ran.exists()  # it would have run


@pytest.mark.parametrize("reason", ["read-only", "full"])
def test_a_workdir_that_cannot_be_written_to_is_read(
  tmp_path, run, save, means, reason, monkeypatch
):
  save({1: 1, 3: 1})
  if reason == "full":
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
  else:

    def refuse(path):
      raise PermissionError(path)

    monkeypatch.setattr(average, "whole_file", refuse)
  first, again = mean(run, tmp_path), mean(run, tmp_path)
  assert bits(first) == bits(again) and means == [[1, 3]] * 2
  assert os.listdir(tmp_path) == ["checkpoints"]

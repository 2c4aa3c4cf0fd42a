"""Files of weights: of torch, in several parts, and what is wrong with them."""

import json
import os
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from tfx_jax.errors import UserError
from tfx_jax.pretrained.folder import FolderTensors

TENSORS = {
  name: np.random.default_rng(i).normal(size=(3, i + 1)).astype(np.float32)
  for i, name in enumerate(("a", "b", "c"))
}


def same(found):
  assert set(found) == set(TENSORS)
  for name, tensor in TENSORS.items():
    np.testing.assert_array_equal(found[name], tensor)


def test_parts_that_an_index_names_are_one(tmp_path):
  save_file({name: TENSORS[name] for name in "ab"}, tmp_path / "1.safetensors")
  save_file({"c": TENSORS["c"]}, tmp_path / "2.safetensors")
  index = {"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors"}
  path = tmp_path / "model.safetensors.index.json"
  path.write_text(json.dumps({"weight_map": index}))
  same(FolderTensors(str(tmp_path)))
  os.remove(tmp_path / "2.safetensors")
  with pytest.raises(UserError, match=r"^there is no .*2\.safetensors$"):
    FolderTensors(str(tmp_path))


def test_torch_files_are_read_if_there_is_no_other(tmp_path):
  torch = pytest.importorskip("torch", reason="needs tfx_jax[reference]")
  state = {name: torch.from_numpy(tensor) for name, tensor in TENSORS.items()}
  torch.save(state, tmp_path / "pytorch_model.bin")
  same(FolderTensors(str(tmp_path)))
  halves = {name: tensor.bfloat16() for name, tensor in state.items()}
  torch.save(halves, tmp_path / "pytorch_model.bin")
  found = FolderTensors(str(tmp_path))
  np.testing.assert_array_equal(found["a"], halves["a"].float().numpy())
  save_file(TENSORS, tmp_path / "model.safetensors")
  same(FolderTensors(str(tmp_path)))


class Harmful:
  def __reduce__(self):
    return os.mkdir, (self.path,)


def test_torch_files_run_nothing(tmp_path):
  torch = pytest.importorskip("torch", reason="needs tfx_jax[reference]")
  harmful = Harmful()
  harmful.path = str(tmp_path / "made")
  for save in (torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))):
    save({"a": harmful}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is damaged: ") as error:
      FolderTensors(str(tmp_path))
    assert "\n" not in str(error.value)
  assert not os.path.exists(harmful.path)


def test_torch_files_need_torch(tmp_path, monkeypatch):
  (tmp_path / "pytorch_model.bin").write_bytes(b"")
  monkeypatch.setitem(__import__("sys").modules, "torch", None)
  with pytest.raises(UserError, match=r"pytorch_model\.bin needs torch, which is not installed"):
    FolderTensors(str(tmp_path))

"""Export: the parameters of a run, and errors before anything is written."""

import json
import os

import numpy as np
import pytest

import tfx_jax
from tfx_jax.main import main


def test_a_run_is_exported_with_its_parameters(trained, tmp_path, capsys):
  safetensors = pytest.importorskip("safetensors.numpy")
  folder = tmp_path / "out"
  options = [f"--workdir={trained[1]}", f"--output={folder}", "--format=safetensors"]
  assert main(["export", *options]) == 0
  out, err = capsys.readouterr()
  assert out == "" and err.splitlines()[-1] == f"written to {folder}"
  run = tfx_jax.load(trained[1])
  tensors = safetensors.load_file(folder / "model.safetensors")
  table = run.params["target_embed"]["embedding"]
  np.testing.assert_array_equal(tensors["target_embed/embedding"], table)
  assert json.loads((folder / "settings.json").read_text())["seed"] == run.config.seed
  assert main(["export", *options]) == 2  # it is not empty
  assert str(folder) in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ([], "error: --mode=export needs --output=FOLDER, which must be new or empty"),
    (["--output=OUT", "--format=onnx"], "error: format='onnx': use huggingface, safetensors or"),
    (["--output=OUT", "--format=adapters"], "error: format='adapters' is for runs with lora.rank"),
    (["--output=OUT", "--architecture=GPT3"], "error: "),
  ],
)
def test_what_cannot_be_exported_is_one_line(trained, options, told, tmp_path, capsys):
  options = [option.replace("OUT", str(tmp_path / "out")) for option in options]
  assert main(["export", f"--workdir={trained[1]}", *options]) == 2
  assert capsys.readouterr().err.splitlines()[-1].startswith(told)
  assert os.listdir(tmp_path) == []

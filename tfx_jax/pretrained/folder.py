"""Reads the files of a Hugging Face folder: settings and tensors."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError, first_line

CONFIG, GENERATION = "config.json", "generation_config.json"
WEIGHTS, TORCH_WEIGHTS = "model.safetensors", "pytorch_model.bin"
HUB = "hf://"
# Other formats of weights are downloaded only if there are no safetensors.
_WANTED = ["*.json", "*.safetensors", "*.spm", "*.jinja"]


def fetched(path: str) -> str:
  """Downloads 'hf://ORGANISATION/NAME' and returns its folder; returns other paths unchanged.

  Raises:
    UserError: if it cannot be downloaded.
  """
  if not path.startswith(HUB):
    return path
  try:
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError
  except ImportError as error:
    raise UserError(f"{path} needs huggingface_hub: pip install 'tfx_jax[pretrained]'") from error
  name = path.removeprefix(HUB)
  try:
    folder = huggingface_hub.snapshot_download(name, allow_patterns=_WANTED)
    if not any(entry.endswith(".safetensors") for entry in os.listdir(folder)):
      folder = huggingface_hub.snapshot_download(name, allow_patterns=[*_WANTED, "*.bin"])
  except RepositoryNotFoundError as error:
    raise UserError(f"{path}: there is no such model, or it requires a login") from error
  except Exception as error:  # the hub and the connection raise many kinds
    raise UserError(f"cannot download {path}: {first_line(error)}") from error
  return folder


def is_foreign(folder: str) -> bool:
  """Returns true for a Hugging Face folder, false for a workdir of ours."""
  path = os.path.join(folder, CONFIG)
  return os.path.isfile(path) and "model_type" in read_json(path)


def read_json(path: str, required: bool = True) -> JsonObject:
  """Returns the JSON object in a file; {} if the file is missing and not required.

  Raises:
    UserError: if the file is missing or damaged.
  """
  try:
    with open(path, encoding="utf-8") as file:
      content = json.load(file)
  except FileNotFoundError:
    if not required:
      return {}
    raise UserError(f"there is no {path}") from None
  except (OSError, ValueError) as error:
    raise UserError(f"cannot read {path}: {error}") from error
  if not isinstance(content, dict):
    raise UserError(f"{path} is damaged: it is no JSON object")
  return content


class FolderTensors(Mapping[str, np.ndarray]):
  """The tensors of a folder by name, each read when it is requested.

  Args:
    folder: a folder with model.safetensors, pytorch_model.bin, or an index of several such files.

  Raises:
    UserError: if there are none, or a file is damaged.
  """

  def __init__(self, folder: str):
    self._files: dict[str, _Safetensors | _Torch] = {}
    path = _first(folder, (WEIGHTS, TORCH_WEIGHTS))
    if path is None:
      path = _first(folder, (f"{WEIGHTS}.index.json", f"{TORCH_WEIGHTS}.index.json"))
      if path is None:
        raise UserError(f"{folder} has no weights: neither {WEIGHTS} nor {TORCH_WEIGHTS}")
      index = read_json(path).get("weight_map") or {}
      paths = [os.path.join(folder, name) for name in sorted(set(index.values()))]
    else:
      index, paths = {}, [path]
    for part in paths:
      opened = _open_torch(part) if part.endswith(".bin") else _open_safetensors(part)
      self._files |= dict.fromkeys(opened.keys(), opened)
    missing = sorted(index.keys() - self._files.keys())
    if missing:
      raise UserError(f"{path} lists the tensor {missing[0]}, which its file does not have")

  def __getitem__(self, name: str) -> np.ndarray:
    return self._files[name].get(name)

  def __iter__(self) -> Iterator[str]:
    return iter(self._files)

  def __len__(self) -> int:
    return len(self._files)


class _Safetensors:
  """Tensors of a file of safetensors."""

  def __init__(self, file: Any, path: str):
    self._file, self._path = file, path

  def keys(self) -> list[str]:
    return list(self._file.keys())

  def get(self, name: str) -> np.ndarray:
    try:
      return np.asarray(self._file.get_tensor(name))
    except Exception as error:  # the library raises many kinds
      raise UserError(f"{self._path}: cannot read the tensor {name}: {error}") from error


def _open_safetensors(path: str) -> _Safetensors:
  try:
    import safetensors
  except ImportError as error:
    raise UserError(f"{path} needs safetensors: pip install 'tfx_jax[pretrained]'") from error
  try:
    # As JAX arrays, since NumPy has no bfloat16.
    return _Safetensors(safetensors.safe_open(path, framework="flax"), path)
  except FileNotFoundError:
    raise UserError(f"there is no {path}") from None
  except (OSError, safetensors.SafetensorError) as error:
    raise UserError(f"{path} is damaged: {error}") from error


class _Torch:
  """Tensors of a file of torch."""

  def __init__(self, tensors: Mapping[str, Any]):
    self._tensors = tensors

  def keys(self) -> list[str]:
    return list(self._tensors)

  def get(self, name: str) -> np.ndarray:
    import torch

    tensor = self._tensors[name]
    # NumPy has no bfloat16, whose values float32 can represent.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _open_torch(path: str) -> _Torch:
  try:
    import torch
  except ImportError as error:
    raise UserError(f"{path} needs torch, which is not installed, unlike safetensors") from error
  try:
    return _Torch(torch.load(path, map_location="cpu", weights_only=True))
  except FileNotFoundError:
    raise UserError(f"there is no {path}") from None
  except Exception as error:  # zip, pickle and torch raise many kinds
    raise UserError(f"{path} is damaged: {first_line(error)}") from error


def _first(folder: str, names: tuple[str, ...]) -> str | None:
  paths = (os.path.join(folder, name) for name in names)
  return next((path for path in paths if os.path.isfile(path)), None)

"""Exports a model: as a folder that transformers loads, or as tensors under our names."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping

import jax
import numpy as np
from flax import traverse_util

from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.new_folder import check_new
from tfx_jax.errors import UserError
from tfx_jax.models.model import Params
from tfx_jax.pretrained import FAMILIES, generation, tokenizers, weights
from tfx_jax.pretrained.family import Family, Foreign, Settings
from tfx_jax.pretrained.folder import CONFIG, GENERATION, WEIGHTS

# Settings of how a model is trained or run, which do not change what it computes.
EXECUTION_SETTINGS = {
  *("dropout", "attention_dropout", "activation_dropout", "scan_layers", "remat"),
  *("attention_rows", "dtype", "plain_gradients"),
}
# Settings that transformers does not have, since they follow from the tensors.
_TENSOR_SETTINGS = {"vocab_multiple", "zero_start"}
# Bias of a token that is never generated; large enough in half precision, too.
_NEVER = -1e4
# Settings that only matter if another setting has a certain value.
_DEPENDS_ON = {
  "max_positions": ("position", "learned"),
  "num_buckets": ("position", "bucket"),
  "max_distance": ("position", "bucket"),
  "rotary_base": ("position", "rotary"),
  "rotary_scaling": ("position", "rotary"),
  "encoder_layers": ("architecture", "encoder_decoder"),
  "share_embeddings": ("architecture", "encoder_decoder"),
  "qkv_bias": ("use_bias", False),
  "levels": ("architecture", "autoencoder"),
}


def write_huggingface(
  folder: str,
  model: Settings,
  generate: Settings,
  params: Params,
  pair: tuple[Tokenizer, Tokenizer],
  defaults: Settings,
  architecture: str = "",
) -> str:
  """Writes a folder that transformers loads: weights, settings and tokenizer.

  Args:
    folder: the folder, which must not exist or must be empty.
    model: the section `model`.
    generate: the section `generate`.
    params: parameters of the model.
    pair: the tokenizers of sources and targets.
    defaults: default values of the section `model`.
    architecture: a key of `FAMILIES`; by default the first family that has these settings.

  Returns:
    The architecture.

  Raises:
    UserError: naming the setting because of which no family has this model, or if `folder` is in
      use.
  """
  family = find_family(model, defaults, architecture)
  params, has_encoder = jax.device_get(params), model["architecture"] == "encoder_decoder"
  # If decoders start with zeros, that needs a row of its own: BOS's row belongs to the output.
  zero_start = has_encoder and model["zero_start"]
  extra = len(params["target_embed"]["embedding"]) if zero_start else None
  written = tokenizers.write(pair, extra)
  if has_encoder and written.bos is not None:
    params = _with_rows(params, model, written.ids[written.bos])
  first, *others = written.eos_ids
  bos = first if written.bos is None else written.bos
  eos = [first, *others] if others else first
  ids = {"eos_token_id": eos, "pad_token_id": written.pad, "bos_token_id": bos}
  if has_encoder:
    forced = (*pair[1].special_tokens.prefix, None)[0]
    ids |= {"decoder_start_token_id": bos, "forced_bos_token_id": forced}
  config = family.write_settings(model) | {
    "architectures": [family.architecture],
    "vocab_size": len(written.ids),
    "dtype": "float32",
    "forced_eos_token_id": None,
    "tokenizer_class": written.kind,
    **ids,
  }
  tensors = weights.write(family.entries(model, len(written.ids)), params, written.ids)
  given = len(pair[1].special_tokens.prefix) if has_encoder else 0
  generated = generation.write(generate, given) | _suppressed(generate, pair[1], written) | ids
  contents = {CONFIG: _json(config), GENERATION: _json(generated), **written.files}
  _publish(folder, contents, tensors)
  return family.architecture


def _with_rows(params: Params, model: Settings, start: int) -> Params:
  """Returns parameters with the output bias and the row of zeros that transformers' models need.

  Args:
    params: parameters of our model.
    model: the section `model`.
    start: row of the embedding table that decoders start with; if it is the row after the last, it
      is added, with a bias by which it is never generated.
  """
  table, output = params["target_embed"]["embedding"], params.get("output", {})
  if "bias" not in output:
    params = params | {"output": output | {"bias": np.zeros(len(table), np.float32)}}
  if not model["zero_start"]:
    return params
  if start == len(table):
    table = np.pad(table, ((0, 1), (0, 0)))
    bias = np.append(params["output"]["bias"], np.float32(_NEVER))
    params = params | {"output": params["output"] | {"bias": bias}}
  table = np.where(np.arange(len(table))[:, None] == start, 0, table)
  return params | {"target_embed": {"embedding": table}}


def _suppressed(
  generate: Settings, tokenizer: Tokenizer, written: tokenizers.Written
) -> dict[str, list[int]]:
  """Returns the setting of tokens that are never generated, with transformers' ids."""
  special_tokens = tokenizer.special_tokens
  known = [i for i in written.ids if i < tokenizer.vocab_size]
  pieces = dict(zip(tokenizer.pieces(known), known, strict=True))
  forbidden: set[int | None] = {pieces[p] for p in generate["forbidden"] if p in pieces}
  forbidden |= {special_tokens.pad, special_tokens.bos} - {None, *special_tokens.eos_ids}
  forbidden |= set(written.ids) - set(known)
  ids = [number for number, i in enumerate(written.ids) if i in forbidden]
  return {"suppress_tokens": ids} if ids else {}


def write_safetensors(folder: str, params: Params, config: JsonObject) -> None:
  """Writes parameters under our names, joined by slashes, and the configuration.

  Raises:
    UserError: if `folder` is not empty.
  """
  flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
  tensors = {name: np.asarray(x) for name, x in flat.items()}
  _publish(folder, {"settings.json": _json(config)}, tensors)


def find_family(model: Settings, defaults: Settings, architecture: str = "") -> Family:
  """Returns the family that has a model with these settings.

  Args:
    model: the section `model`.
    defaults: default values of that section, for settings that a family does not read.
    architecture: a key of `FAMILIES`; by default any.

  Raises:
    UserError: if there is none, naming the settings in which the most similar family differs.
  """
  if architecture and architecture not in FAMILIES:
    raise UserError(f"family '{architecture}' is not supported: use one of {', '.join(FAMILIES)}")
  differences: dict[str, list[str]] = {}
  for name in [architecture] if architecture else FAMILIES:
    differences[name] = _differences(FAMILIES[name], model, defaults)
    if not differences[name]:
      return FAMILIES[name]
  name, wrong = min(differences.items(), key=lambda item: _distance(item[1]))
  raise UserError(
    f"transformers has no such model: the most similar is {name}, where {', '.join(wrong)}; train "
    "with these settings, or use format='safetensors', which writes any model under our names"
  )


def _distance(differences: list[str]) -> tuple[bool, int]:
  """Returns a key to sort families by: those of the same architecture come first."""
  other = any(line.startswith("model.architecture ") for line in differences)
  return other, len(differences)


def _differences(family: Family, model: Settings, defaults: Settings) -> list[str]:
  """Returns the differences of a model that is written as one of a family and read again."""
  tensors = {} if model["tie_output"] else {"lm_head.weight": np.zeros(0)}
  try:
    values = family.write_settings(model) | {"vocab_size": 0}
    read = defaults | family.read_settings(Foreign(values, CONFIG, tensors))
  except UserError as error:
    return [str(error)]
  wrong = []
  for key in sorted(model.keys() - EXECUTION_SETTINGS - _TENSOR_SETTINGS):
    other, value = _DEPENDS_ON.get(key, (None, None))
    if other is not None and model[other] != value:
      continue
    ours, theirs = _normalized(model, key), _normalized(read, key)
    if key == "output_bias" and theirs and model["architecture"] == "encoder_decoder":
      continue
    if isinstance(ours, float) and isinstance(theirs, int | float) and math.isclose(ours, theirs):
      continue
    if ours != theirs:
      wrong.append(f"model.{key} is {theirs!r}, not {ours!r}")
  return wrong


def _normalized(model: Settings, key: str) -> object:
  if key == "head_dim":
    return model["head_dim"] or model["features"] // model["num_heads"]
  if key == "num_kv_heads":
    return model["num_kv_heads"] or model["num_heads"]
  return model[key]


def _publish(folder: str, contents: Mapping[str, bytes], tensors: Mapping[str, np.ndarray]) -> None:
  """Creates a folder with these files, atomically."""
  try:
    from safetensors.numpy import save_file
  except ImportError as error:
    raise UserError(f"{folder} needs safetensors: pip install 'tfx_jax[pretrained]'") from error
  check_new(folder)
  parent = os.path.dirname(os.path.abspath(folder))
  try:
    os.makedirs(parent, exist_ok=True)
    building = tempfile.mkdtemp(prefix=".export-", dir=parent)
    try:
      for name, content in contents.items():
        with open(os.path.join(building, name), "wb") as file:
          file.write(content)
      save_file(dict(tensors), os.path.join(building, WEIGHTS), metadata={"format": "pt"})
      for path, mode in ((building, 0o755), (os.path.join(building, WEIGHTS), 0o644)):
        os.chmod(path, mode)  # both are created readable by their owner only
      os.replace(building, folder)
    finally:
      shutil.rmtree(building, ignore_errors=True)
  except OSError as error:
    raise UserError(f"cannot write {folder}: {error.strerror}") from error


def _json(content: JsonObject) -> bytes:
  return json.dumps(content, indent=2).encode()

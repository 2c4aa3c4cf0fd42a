"""Gives a model back: a folder that transformers loads, or tensors under our own names."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.errors import UserError
from tfx_jax.pretrained import FAMILIES, generation, tokenizers, weights
from tfx_jax.pretrained.family import Family, Foreign, Settings
from tfx_jax.pretrained.folder import CONFIG, GENERATION, WEIGHTS

# How a model is trained or run, not what it computes.
OF_RUNNING = {
  *("dropout", "attention_dropout", "activation_dropout", "scan_layers", "remat"),
  *("attention_rows", "dtype", "plain_gradients"),
}
# What no setting says there: the tensors do.
_OF_TENSORS = {"vocab_multiple", "zero_start"}
# A bias by which a token has no probability, in half precision as well.
_NEVER = -1e4
# What means something only together with something else.
_WHERE = {
  "max_positions": ("position", "learned"),
  "num_buckets": ("position", "bucket"),
  "max_distance": ("position", "bucket"),
  "rotary_base": ("position", "rotary"),
  "rotary_scaling": ("position", "rotary"),
  "encoder_layers": ("architecture", "encoder_decoder"),
  "share_embeddings": ("architecture", "encoder_decoder"),
  "qkv_bias": ("use_bias", False),
}


def write_huggingface(
  folder: str,
  model: Settings,
  generate: Settings,
  params: Any,
  pair: tuple[Tokenizer, Tokenizer],
  defaults: Settings,
  architecture: str = "",
) -> str:
  """Writes a folder that transformers loads: weights, settings and tokenizer.

  Args:
    folder: which must not exist, or be empty.
    model: the section `model`.
    generate: the section `generate`.
    params: of the model.
    pair: tokenizers of sources and targets.
    defaults: of the section `model`.
    architecture: a key of `FAMILIES`; by default the first that has these settings.

  Returns:
    the architecture.

  Raises:
    UserError: naming the setting for which no family has this model, or if `folder` is in use.
  """
  family = find_family(model, defaults, architecture)
  params, encodes = jax.device_get(params), model["architecture"] == "encoder_decoder"
  # Beside BOS's row, which has a part in the output, targets that begin with zeros need one more.
  begins = encodes and model["zero_start"]
  extra = len(params["target_embed"]["embedding"]) if begins else None
  written = tokenizers.write(pair, extra)
  if encodes:
    params = _with_rows(params, model, written.ids[written.bos])
  first, *others = written.eos_ids
  bos = first if written.bos is None else written.bos
  eos = [first, *others] if others else first
  ids = {"eos_token_id": eos, "pad_token_id": written.pad, "bos_token_id": bos}
  if encodes:
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
  given = len(pair[1].special_tokens.prefix) if encodes else 0
  generated = generation.write(generate, given) | _suppressed(generate, pair[1], written) | ids
  contents = {CONFIG: _json(config), GENERATION: _json(generated), **written.files}
  _publish(folder, contents, tensors)
  return family.architecture


def _with_rows(params: Any, model: Settings, start: int) -> Any:
  """Parameters with what a foreign model has in rows of tables, and ours has by its settings.

  Args:
    params: of our model.
    model: the section `model`.
    start: the row that decoders begin with; one beyond the table is added, and never generated.
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
  """What is never generated, by their ids."""
  special_tokens = tokenizer.special_tokens
  own = [i for i in written.ids if i < tokenizer.vocab_size]
  pieces = dict(zip(tokenizer.pieces(own), own, strict=True))
  ours = {pieces[piece] for piece in generate["forbidden"] if piece in pieces}
  ours |= {special_tokens.pad, special_tokens.bos} - {None, *special_tokens.eos_ids}
  ours.update(set(written.ids) - set(own))
  ids = [number for number, i in enumerate(written.ids) if i in ours]
  return {"suppress_tokens": ids} if ids else {}


def write_safetensors(folder: str, params: Any, config: Mapping[str, Any]) -> None:
  """Writes parameters under our own names, joined by slashes, and the configuration.

  Raises:
    UserError: if `folder` is in use.
  """
  flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
  tensors = {name: np.asarray(x) for name, x in flat.items()}
  _publish(folder, {"settings.json": _json(config)}, tensors)


def find_family(model: Settings, defaults: Settings, architecture: str = "") -> Family:
  """The family that has a model of these settings.

  Args:
    model: the section `model`.
    defaults: what of it a family has that says nothing else.
    architecture: a key of `FAMILIES`; by default any.

  Raises:
    UserError: if none has, naming the settings that the nearest has not.
  """
  if architecture and architecture not in FAMILIES:
    raise UserError(f"family '{architecture}' is not supported, only {', '.join(FAMILIES)} are")
  nearest: tuple[tuple[bool, int], list[str], str] | None = None
  for name in [architecture] if architecture else FAMILIES:
    wrong = _differences(FAMILIES[name], model, defaults)
    if not wrong:
      return FAMILIES[name]
    # One with an encoder is no neighbour of one without.
    distance = any(line.startswith("model.architecture ") for line in wrong), len(wrong)
    if nearest is None or distance < nearest[0]:
      nearest = distance, wrong, name
  _, wrong, name = nearest
  raise UserError(
    f"transformers has no such model: the nearest is {name}, and there {', '.join(wrong)}; train "
    "with these, or use format='safetensors', which writes any model under our own names"
  )


def _differences(family: Family, model: Settings, defaults: Settings) -> list[str]:
  """What of a model is otherwise once it has been written as one of a family and read again."""
  tensors = {} if model["tie_output"] else {"lm_head.weight": None}
  try:
    values = family.write_settings(model) | {"vocab_size": 0}
    found = defaults | family.read_settings(Foreign(values, CONFIG, tensors))
  except UserError as error:
    return [str(error)]
  wrong = []
  for key in sorted(model.keys() - OF_RUNNING - _OF_TENSORS):
    other, value = _WHERE.get(key, (None, None))
    if other is not None and model[other] != value:
      continue
    ours, theirs = _normalized(model, key), _normalized(found, key)
    if key == "output_bias" and theirs and model["architecture"] == "encoder_decoder":
      continue
    if ours != theirs and not (isinstance(ours, float) and math.isclose(ours, theirs)):
      wrong.append(f"model.{key} is {theirs!r}, not {ours!r}")
  return wrong


def _normalized(model: Settings, key: str) -> Any:
  if key == "head_dim":
    return model["head_dim"] or model["features"] // model["num_heads"]
  if key == "num_kv_heads":
    return model["num_kv_heads"] or model["num_heads"]
  return model[key]


def _publish(folder: str, contents: Mapping[str, bytes], tensors: Mapping[str, np.ndarray]) -> None:
  """Makes a folder of these files, all at once."""
  try:
    from safetensors.numpy import save_file
  except ImportError as error:
    raise UserError(f"{folder} needs safetensors: pip install 'tfx_jax[pretrained]'") from error
  if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
    raise UserError(f"{folder} is in use: choose a folder that does not exist")
  parent = os.path.dirname(os.path.abspath(folder))
  try:
    os.makedirs(parent, exist_ok=True)
    building = tempfile.mkdtemp(prefix=".export-", dir=parent)
    try:
      for name, content in contents.items():
        with open(os.path.join(building, name), "wb") as file:
          file.write(content)
      save_file(tensors, os.path.join(building, WEIGHTS), metadata={"format": "pt"})
      for path, mode in ((building, 0o755), (os.path.join(building, WEIGHTS), 0o644)):
        os.chmod(path, mode)  # both are made for their owner alone
      os.replace(building, folder)
    finally:
      shutil.rmtree(building, ignore_errors=True)
  except OSError as error:
    raise UserError(f"cannot write {folder}: {error.strerror}") from error


def _json(content: Mapping[str, Any]) -> bytes:
  return json.dumps(content, indent=2).encode()

"""Pretrained models of other libraries, read and written; one file per family of models."""

import dataclasses
import os
import re
from collections.abc import Mapping

from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.errors import UserError
from tfx_jax.models.model import Params
from tfx_jax.pretrained import generation, tokenizers, weights
from tfx_jax.pretrained.bart import BART
from tfx_jax.pretrained.family import Family, Foreign, Settings
from tfx_jax.pretrained.folder import (
  CONFIG,
  GENERATION,
  FolderTensors,
  fetched,
  is_foreign,
  read_json,
)
from tfx_jax.pretrained.gpt2 import GPT2
from tfx_jax.pretrained.llama import LLAMA, MISTRAL, QWEN2
from tfx_jax.pretrained.marian import MARIAN
from tfx_jax.pretrained.mbart import MBART
from tfx_jax.pretrained.pegasus import PEGASUS
from tfx_jax.pretrained.t5 import MT5, T5

__all__ = ["FAMILIES", "Pretrained", "fetched", "is_foreign", "read"]

FAMILIES: dict[str, Family] = {
  family.architecture: family
  for family in (MARIAN, BART, MBART, PEGASUS, T5, MT5, GPT2, LLAMA, MISTRAL, QWEN2)
}


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A pretrained model of another library, opened from its folder.

  Attributes:
    settings: sections of our configuration, with the values that differ from its defaults.
    tokenizers: the tokenizers of sources and of targets.
    folder: folder of the model.
    family: the family that the model belongs to.
    tensors: tensors by their names in the folder.
  """

  settings: Mapping[str, Settings]
  tokenizers: tuple[Tokenizer, Tokenizer]
  folder: str
  family: Family
  tensors: FolderTensors

  def params(self, abstract: Params) -> Params:
    """Returns the model's parameters under our names, in float32.

    Args:
      abstract: shapes of our parameters.

    Raises:
      UserError: naming a tensor that is missing, unused or of another shape.
    """
    model, tokens = self.settings["model"], self.tokenizers[1].vocab_size
    entries = self.family.entries(model, tokens)
    pattern = re.compile("|".join(self.family.ignored) or "$^")

    def ignored(name: str) -> bool:
      return pattern.fullmatch(name) is not None

    return weights.read(entries, self.tensors, abstract, ignored, self.folder)


def read(folder: str, defaults: Mapping[str, Settings]) -> Pretrained:
  """Opens a Hugging Face folder.

  Args:
    folder: a folder with config.json, weights and a tokenizer.
    defaults: sections of our configuration with their default values.

  Raises:
    UserError: for an architecture or setting that is not supported, or files that are missing or
      damaged.
  """
  path = os.path.join(folder, CONFIG)
  values = read_json(path)
  names = values.get("architectures") or []
  family = next((FAMILIES[name] for name in names if name in FAMILIES), None)
  if family is None:
    raise UserError(
      f"{path}: architectures={names} is not supported: use one of {', '.join(FAMILIES)}"
    )
  tensors = FolderTensors(folder)
  generation_path = os.path.join(folder, GENERATION)
  generation_settings = read_json(generation_path, required=False)
  known = values | {name: value for name, value in generation_settings.items() if value is not None}
  config = Foreign(known, path, tensors)
  model = dict(defaults["model"]) | family.read_settings(config)
  has_encoder = model["architecture"] == "encoder_decoder"
  pair = tokenizers.read(folder, known, config("vocab_size"), has_encoder)
  forbidden = generation.suppressed(generation_settings, generation_path, config("vocab_size"))
  given = 1 + len(pair[1].special_tokens.prefix) if has_encoder else 0
  # Older folders have these settings in config.json.
  found_in = (generation_settings, generation_path) if generation_settings else (values, path)
  generate = generation.read(*found_in, given)
  generate["forbidden"] = tuple(
    pair[1].pieces(
      [i for i in forbidden if i not in (pair[1].special_tokens.pad, pair[1].special_tokens.bos)]
    )
  )
  sections = {"model": model, "generate": generate} | _data_settings(model, pair)
  _limit_lengths(generate, sections["data"], len(pair[1].special_tokens.prefix))
  return Pretrained(sections, pair, folder, family, tensors)


def _limit_lengths(generate: Settings, data: Settings, given: int) -> None:
  """Limits inputs and outputs to the length of the model; `given` tokens start each output."""
  longest = data["target_length"]
  if "source_length" in data:
    generate["max_source_length"] = data["source_length"]
    generate["max_length"] = min(generate["max_length"], longest - given)
  else:
    generate["max_length"] = min(generate["max_length"], longest // 2)
    generate["max_source_length"] = longest - generate["max_length"]


def _data_settings(model: Settings, pair: tuple[Tokenizer, Tokenizer]) -> dict[str, Settings]:
  """Returns the sections `task` and `data`, by which the model reads texts."""
  longest = model["max_positions"] if model["position"] in ("learned", "rotary") else 512
  if model["architecture"] == "encoder_decoder":
    return {"data": {"source_length": longest, "target_length": longest}}
  stream = pair[1].special_tokens.bos is None
  return {
    "task": {"name": "text", "source": "", "target": "text", "metrics": ()},
    "data": {"target_length": longest, "stream": stream},
  }

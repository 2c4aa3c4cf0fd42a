"""Models of other libraries: one file a family, foreign names and settings to and from ours."""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.errors import UserError
from tfx_jax.pretrained import generation, tokenizers, weights
from tfx_jax.pretrained.bart import BART
from tfx_jax.pretrained.family import Family, Foreign
from tfx_jax.pretrained.folder import CONFIG, GENERATION, Tensors, fetched, is_foreign, read_json
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
  """A foreign model that has been opened.

  Attributes:
    settings: by section, what differs from the defaults of our configuration.
    tokenizers: of sources and of targets.
    folder: where it is.
    family: see `Family`.
    tensors: by foreign name.
  """

  settings: Mapping[str, Mapping[str, Any]]
  tokenizers: tuple[Tokenizer, Tokenizer]
  folder: str
  family: Family
  tensors: Tensors

  def params(self, abstract: Any) -> Any:
    """Our parameters of these shapes, float32.

    Raises:
      UserError: naming a tensor that is missing, left over or of another shape.
    """
    model, tokens = self.settings["model"], self.tokenizers[1].vocab_size
    left_over = re.compile("|".join(self.family.ignored) or "$^")
    entries = self.family.entries(model, tokens)
    ignored = lambda name: left_over.fullmatch(name) is not None  # noqa: E731
    return weights.read(entries, self.tensors, abstract, ignored, self.folder)


def read(folder: str, defaults: Mapping[str, Mapping[str, Any]]) -> Pretrained:
  """Opens a Hugging Face folder.

  Args:
    folder: with config.json, weights and a tokenizer.
    defaults: of our configuration, by section.

  Raises:
    UserError: for an architecture or a setting that is not supported, or files that are missing or
      damaged.
  """
  path = os.path.join(folder, CONFIG)
  values = read_json(path)
  names = values.get("architectures") or []
  family = next((FAMILIES[name] for name in names if name in FAMILIES), None)
  if family is None:
    raise UserError(
      f"{path}: architectures={names} is not supported, only {', '.join(FAMILIES)} are"
    )
  tensors = Tensors(folder)
  generated = os.path.join(folder, GENERATION)
  of_generation = read_json(generated, required=False)
  known = values | {name: value for name, value in of_generation.items() if value is not None}
  config = Foreign(known, path, tensors)
  model = dict(defaults["model"]) | family.read_settings(config)
  encodes = model["architecture"] == "encoder_decoder"
  pair = tokenizers.read(folder, known, config("vocab_size"), encodes)
  forbidden = generation.suppressed(of_generation, generated, config("vocab_size"))
  given = 1 + len(pair[1].special_tokens.prefix) if encodes else 0
  told = (of_generation, generated) if of_generation else (values, path)
  generate = generation.read(*told, given)
  generate["forbidden"] = tuple(
    pair[1].pieces(
      [i for i in forbidden if i not in (pair[1].special_tokens.pad, pair[1].special_tokens.bos)]
    )
  )
  sections = {"model": model, "generate": generate} | _reading(model, pair)
  _fit(generate, sections["data"], len(pair[1].special_tokens.prefix))
  return Pretrained(sections, pair, folder, family, tensors)


def _fit(generate: dict[str, Any], data: Mapping[str, Any], given: int) -> None:
  """Bounds inputs and outputs by what the model reads at a time; `given` tokens begin outputs."""
  longest = data["target_length"]
  if "source_length" in data:
    generate["max_source_length"] = data["source_length"]
    generate["max_length"] = min(generate["max_length"], longest - given)
  else:
    generate["max_length"] = min(generate["max_length"], longest // 2)
    generate["max_source_length"] = longest - generate["max_length"]


def _reading(
  model: Mapping[str, Any], pair: tuple[Tokenizer, Tokenizer]
) -> dict[str, dict[str, Any]]:
  """How the model reads texts: the sections `task` and `data`."""
  longest = model["max_positions"] if model["position"] in ("learned", "rotary") else 512
  if model["architecture"] == "encoder_decoder":
    return {"data": {"source_length": longest, "target_length": longest}}
  stream = pair[1].special_tokens.bos is None
  return {
    "task": {"name": "text", "source": "", "target": "text", "metrics": ()},
    "data": {"target_length": longest, "stream": stream},
  }

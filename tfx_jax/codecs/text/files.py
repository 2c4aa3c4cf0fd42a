"""The folder of a tokenizer: its spec and its model, each file written whole or not at all."""

import json
import os
from collections.abc import Mapping

from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.whole_file import write_whole
from tfx_jax.errors import UserError

FORMAT = 1
SPEC, MODEL = "tokenizer.json", "sentencepiece.model"


def read(path: str) -> bytes:
  """Returns the content of a file.

  Raises:
    UserError: if the file cannot be read.
  """
  try:
    with open(path, "rb") as file:
      return file.read()
  except OSError as error:
    raise UserError(f"cannot read the tokenizer {path}: {error.strerror}") from error


def save(folder: str, spec: JsonObject, models: Mapping[str, bytes] | None = None) -> None:
  """Writes the models, contents of files by name, and then the spec that makes them a tokenizer.

  Raises:
    UserError: if the folder cannot be written.
  """
  text = json.dumps({"format": FORMAT, **spec}).encode()
  try:
    os.makedirs(folder, exist_ok=True)
    for name, content in {**(models or {}), SPEC: text}.items():
      write_whole(os.path.join(folder, name), content)
  except OSError as error:
    raise UserError(f"cannot write the tokenizer to {folder}: {error.strerror}") from error

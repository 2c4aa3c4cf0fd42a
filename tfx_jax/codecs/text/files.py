"""Files of a tokenizer's folder: its kind and its model, each written atomically."""

import json
import os
from collections.abc import Mapping
from typing import Any

from tfx_jax.common.whole_file import write_whole
from tfx_jax.errors import UserError

FORMAT = 1
SPEC, MODEL = "tokenizer.json", "sentencepiece.model"


def read(path: str) -> bytes:
  """Returns the content of a file.

  Raises:
    UserError: if it cannot be read.
  """
  try:
    with open(path, "rb") as file:
      return file.read()
  except OSError as error:
    raise UserError(f"cannot read the tokenizer {path}: {error.strerror}") from error


def save(folder: str, spec: dict[str, Any], models: Mapping[str, bytes] | None = None) -> None:
  """Writes the models, by file name, and then the file that defines the tokenizer.

  Raises:
    UserError: if they cannot be written.
  """
  text = json.dumps({"format": FORMAT, **spec}).encode()
  try:
    os.makedirs(folder, exist_ok=True)
    for name, content in {**(models or {}), SPEC: text}.items():
      write_whole(os.path.join(folder, name), content)
  except OSError as error:
    raise UserError(f"cannot write the tokenizer to {folder}: {error.strerror}") from error

"""Folders of saved codecs of pictures: a JSON file that describes the codec, and its arrays."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.whole_file import write_whole
from tfx_jax.errors import UserError

SPEC = "codec.json"
_FORMAT = 1


class HasFingerprint(Protocol):
  """A codec, as far as it is checked here."""

  @property
  def fingerprint(self) -> str:
    """A hash of the codec."""
    ...


Loaded = TypeVar("Loaded", bound=HasFingerprint)


def write_codec(
  folder: str, kind: str, fingerprint: str, spec: JsonObject, files: Mapping[str, bytes] = {}
) -> None:
  """Writes a codec to a folder, its description last.

  Args:
    folder: the folder, which is made.
    kind: the kind of codec.
    fingerprint: its fingerprint.
    spec: other facts that it is made from.
    files: contents of further files by name.

  Raises:
    UserError: if the folder cannot be written.
  """
  whole = {"format": _FORMAT, "kind": kind, "fingerprint": fingerprint} | spec
  try:
    os.makedirs(folder, exist_ok=True)
    for name, content in files.items():
      write_whole(os.path.join(folder, name), content)
    write_whole(os.path.join(folder, SPEC), json.dumps(whole).encode())
  except OSError as error:
    raise UserError(f"cannot write the codec to {folder}: {error.strerror}") from error


def read_codec(folder: str, makers: Mapping[str, Callable[[str, JsonObject], Loaded]]) -> Loaded:
  """Returns the codec that was saved to a folder.

  Args:
    folder: the folder.
    makers: by kind, a function that makes the codec from the folder and its description.

  Raises:
    UserError: if it is missing, damaged or of an unknown kind.
  """
  path = os.path.join(folder, SPEC)
  try:
    with open(path, "rb") as file:
      spec = json.loads(file.read())
    if spec["format"] != _FORMAT:
      raise UserError(f"{path} has format {spec['format']}, this version reads {_FORMAT}")
    if spec["kind"] not in makers:
      raise UserError(f"{path} is of kind '{spec['kind']}', this version reads {', '.join(makers)}")
    codec = makers[spec["kind"]](folder, spec)
    damaged = spec["fingerprint"] != codec.fingerprint
  except OSError as error:
    raise UserError(f"cannot read the codec {folder}: {error.strerror}") from error
  except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
    if isinstance(error, UserError):
      raise
    raise UserError(f"{path} is damaged: {type(error).__name__} {error}") from error
  if damaged:
    raise UserError(f"the codec in {folder} is damaged: its files do not belong together")
  return codec

"""Folders of pictures with texts, in the layout of Hugging Face's ImageFolder.

Either `metadata.jsonl` has an object for each picture, with its `file_name` and fields such as
`text`; or pictures are in folders of classes, `CLASS/*.png`, and the field `label` is the class.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from tfx_jax.common.picture_files import read_picture
from tfx_jax.errors import MissingFile, UserError, nearest
from tfx_jax.sources.file import Lines

METADATA = "metadata.jsonl"
IMAGE, FILE_NAME, LABEL = "image", "file_name", "label"
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


class PictureFolder:
  """Pictures of a folder, `image` uint8 [H,W,C], with their texts and `file_name`.

  Args:
    folder: the folder.
    fields: fields of the records: `image`, and those of the metadata, or `label`.

  Raises:
    UserError: here for a missing folder, file, field or text, or an empty folder of a class; while
      iterating for a picture that cannot be read.
  """

  def __init__(self, folder: str, fields: Sequence[str]) -> None:
    if not os.path.isdir(folder):
      raise MissingFile(f"no folder {folder}")
    self._folder, self._fields = folder, tuple(fields)
    has_metadata = os.path.exists(os.path.join(folder, METADATA))
    self._records = self._described() if has_metadata else self._classes()

  @property
  def fingerprint(self) -> str:
    """A hash of the texts and of the contents of all pictures."""
    return self._fingerprint

  @functools.cached_property
  def _fingerprint(self) -> str:
    digest = hashlib.blake2b(repr(self._fields).encode(), digest_size=16)
    for record in self._records:
      digest.update(json.dumps(record, sort_keys=True).encode())
      try:
        with open(os.path.join(self._folder, record[FILE_NAME]), "rb") as file:
          digest.update(hashlib.file_digest(file, "blake2b").digest())
      except OSError as error:
        raise UserError(f"cannot read {record[FILE_NAME]}: {error.strerror}") from error
    return digest.hexdigest()

  def __iter__(self) -> Iterator[dict[str, Any]]:
    for record in self._records:
      if IMAGE in self._fields:
        yield record | {IMAGE: read_picture(os.path.join(self._folder, record[FILE_NAME]))}
      else:
        yield dict(record)

  def _described(self) -> list[dict[str, str]]:
    """Returns the fields of each picture that the metadata names."""
    path = os.path.join(self._folder, METADATA)
    records: list[dict[str, str]] = []
    for number, line in enumerate(Lines(path), 1):
      if not line.strip():
        continue
      where = f"{path}, line {number}"
      try:
        value = json.loads(line)
      except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg})") from error
      if not isinstance(value, dict):
        raise UserError(f"{where}: not an object")
      texts = [field for field in (*self._fields, FILE_NAME) if field != IMAGE]
      for field in texts:
        if field not in value:
          raise UserError(f"{where}: no '{field}'{nearest(field, value)}")
        if not isinstance(value[field], str):
          raise UserError(f"{where}: '{field}' is not a text but {type(value[field]).__name__}")
      record = {field: value[field] for field in texts}
      if isinstance(value.get("kind"), str):
        record["kind"] = value["kind"]
      self._check_file(where, record[FILE_NAME])
      records.append(record)
    return records

  def _check_file(self, where: str, name: str) -> None:
    """Checks that a file is inside of the folder, whoever wrote the metadata, and exists."""
    inside = os.path.realpath(os.path.join(self._folder, name))
    if not inside.startswith(os.path.join(os.path.realpath(self._folder), "")):
      raise UserError(f"{where}: '{name}' is not in {self._folder}")
    if not os.path.isfile(inside):
      raise MissingFile(f"{where}: no file {os.path.join(self._folder, name)}")

  def _classes(self) -> list[dict[str, str]]:
    """Returns the label of each picture, the name of its folder."""
    for field in self._fields:
      if field not in (IMAGE, LABEL, FILE_NAME):
        raise UserError(
          f"{self._folder} has no {METADATA}, so its fields are {IMAGE} and {LABEL}, not "
          f"'{field}': set task.source or task.target to {LABEL}"
        )
    labels = sorted(entry.name for entry in os.scandir(self._folder) if entry.is_dir())
    if not labels:
      raise UserError(f"{self._folder} has neither {METADATA} nor folders CLASS/*.png")
    records = []
    for label in labels:
      names = sorted(os.listdir(os.path.join(self._folder, label)))
      files = [name for name in names if name.lower().endswith(_ENDINGS)]
      if not files:
        raise UserError(f"{os.path.join(self._folder, label)} has no pictures")
      records += [{LABEL: label, FILE_NAME: os.path.join(label, name)} for name in files]
    return records

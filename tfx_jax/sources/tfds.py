"""Data sets that TensorFlow Datasets (TFDS) has prepared, read without TensorFlow."""

import contextlib
import difflib
import functools
import glob
import hashlib
import importlib
import io
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfx_jax.errors import UserError, first_line, nearest

_PATH = re.compile(r"(?P<name>\w+(/[\w+.-]+)?(:\d+\.\d+\.\d+)?)(:(?P<split>.+))?")
# The only format that TFDS reads correctly without TensorFlow: it ignores parts of Parquet splits.
_FORMAT = "array_record"
_SLICE = 1024  # examples in memory at a time; reading them one by one takes several times as long


class TfdsSource:
  """A split of a data set that TFDS has prepared as ArrayRecord, or a part of a split.

  Args:
    path: NAME[/CONFIG][:VERSION][:SPLIT], such as 'wmt17_translate/de-en:train[:50%]'. SPLIT has
      the syntax of TFDS and may be omitted if there is only one. Without VERSION, the newest one in
      the folder is read.
    fields: names of features that are texts, labels or pictures of 8 bits; those of nested features
      are dotted. A label becomes the name of its class, a picture uint8 [H,W,C].
    folder: the data folder of TFDS; if empty, the environment variable TFDS_DATA_DIR, or
      ~/tensorflow_datasets.

  Raises:
    UserError: here if TFDS is not installed, the data set is not prepared as ArrayRecord, or
      there is no such data set, split or field; while iterating for damaged files.
  """

  def __init__(self, path: str, fields: Sequence[str], folder: str = "") -> None:
    if not (parts := _PATH.fullmatch(path)):
      raise UserError(f"'{path}' names no TFDS data: use NAME[/CONFIG][:SPLIT]")
    folder = folder or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    self._fields = tuple(fields)
    self._builder = _prepared(parts["name"], os.path.expanduser(folder))
    self._info = self._builder.info
    self._split = _checked_split(self._info, parts["split"] or "")
    self._convert = {field: _converter(self._info.features, field) for field in fields}

  @property
  def fingerprint(self) -> str:
    """A hash of what TFDS has recorded about the data: name, configuration, version and sizes.

    The data itself is not read. If texts change but all sizes stay the same, only the version
    differs, which TFDS requires to be raised then.
    """
    return self._fingerprint

  @functools.cached_property
  def _fingerprint(self) -> str:
    sizes = [
      [name, int(self._info.splits[name].num_bytes), list(self._info.splits[name].shard_lengths)]
      for name in _names(self._info, self._split)
    ]
    content = ["tfds", self._fields, self._info.full_name, self._split, sizes]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

  def __iter__(self) -> Iterator[dict[str, Any]]:
    source = self._builder.as_data_source(split=self._split, file_format=_FORMAT)
    places = [(field, field.split(".")) for field in self._fields]
    for start in range(0, len(source), _SLICE):
      numbers = range(start, min(start + _SLICE, len(source)))
      try:
        examples = source.__getitems__(list(numbers))
      except (RuntimeError, OSError) as error:
        raise UserError(f"cannot read {self._builder.data_dir}: {first_line(error)}") from error
      for number, example in zip(numbers, examples, strict=True):
        try:
          yield {field: self._convert[field](_nested(example, keys)) for field, keys in places}
        except (AttributeError, UnicodeDecodeError) as error:  # None, or bytes of other encodings
          where = f"{self._info.full_name}:{self._split}, example {number}"
          raise UserError(f"{where}: a field is no UTF-8 text") from error


def _prepared(name: str, folder: str) -> Any:
  """Returns the builder of a data set that is prepared as ArrayRecord in `folder`."""
  tfds = _import_tfds()
  # With a version, even *.*.*, TFDS looks for files first, and then needs no code of the data set.
  full = name if ":" in name else f"{name}:*.*.*"
  # TFDS prints a banner when the code of a data set needs TensorFlow, and fails in many ways.
  with contextlib.redirect_stdout(io.StringIO()):
    try:
      builder = tfds.builder(full, data_dir=folder)
    except Exception as error:
      raise UserError(_failure(tfds, name, folder, error)) from error
  if not builder.info.splits:
    raise UserError(
      f"{name} is not prepared in {folder}: run {_preparation(builder, name, folder)} "
      "(to unpack archives it needs TensorFlow; reading does not), or name another folder by "
      "data.tfds_dir or the environment variable TFDS_DATA_DIR"
    )
  try:
    builder.as_data_source(split=(), file_format=_FORMAT)
  except (NotImplementedError, ValueError) as error:
    raise UserError(
      f"{builder.data_dir} is prepared as {builder.info.file_format.value}, but only {_FORMAT} is "
      f"read: delete it and run {_preparation(builder, name, folder)} (downloads are kept)"
    ) from error
  return builder


def _import_tfds() -> Any:
  """Imports TFDS and registers its data sets of texts and pictures.

  By itself, it stops registering them at the first of all its data sets that needs TensorFlow.
  """
  try:
    import tensorflow_datasets as tfds

    groups = ("translate", "summarization", "text", "text_simplification")
    for group in (*groups, "image", "image_classification", "vision_language"):
      importlib.import_module(f"tensorflow_datasets.{group}")
  except ImportError as error:
    raise UserError(
      f"data.format='tfds': {error}; run pip install tensorflow-datasets importlib_resources"
    ) from error
  _forbid_other_features(tfds.features.FeatureConnector)
  return tfds


@functools.cache  # once
def _forbid_other_features(connector: Any) -> None:
  """Makes TFDS refuse modules that a data set's features.json names, unless they are its own."""
  restore = connector.cls_from_name.__func__

  def cls_from_name(cls: Any, name: str) -> Any:
    if not name.startswith("tensorflow_datasets.") and name not in connector._registered_features:
      raise ValueError(f"its features.json names {name}, which is not of TFDS and not imported")
    return restore(cls, name)

  connector.cls_from_name = classmethod(cls_from_name)


def _preparation(builder: Any, name: str, folder: str) -> str:
  """Returns the command that downloads a data set and prepares it as ArrayRecord."""
  # Without TensorFlow, TFDS does not find the code of all its data sets.
  module = builder.info.as_proto.module_name
  program = (
    f"import tensorflow_datasets as tfds, {module}; tfds.builder({json.dumps(name)}, "
    f'data_dir={json.dumps(folder)}, file_format="{_FORMAT}").download_and_prepare()'
  )
  return f"python -c {shlex.quote(program)}"


def _failure(tfds: Any, name: str, folder: str, error: Exception) -> str:
  """Returns why TFDS cannot open a data set, and which one could be meant."""
  places = ("*/*/dataset_info.json", "*/*/*/dataset_info.json")  # NAME/[CONFIG/]VERSION
  found = [path for place in places for path in glob.glob(place, root_dir=folder)]
  there = sorted({path.rsplit(os.sep, 2)[0] for path in found})
  if name in there:
    return f"{os.path.join(folder, name)} is damaged: {first_line(error)}"
  known = tfds.list_builders(with_community_datasets=False)
  if (base := name.split("/")[0]) in known:
    known = [*known, *(f"{base}/{config}" for config in tfds.builder_cls(base).builder_configs)]
  close = difflib.get_close_matches(name, [*there, *known], n=1) or there
  return f"TFDS knows no '{name}'{nearest(name, close) if close else ''}"


def _checked_split(info: Any, split: str) -> str:
  """Returns the split; raises UserError if the data set does not have it or it is empty."""
  if not split:
    if len(info.splits) > 1:
      raise UserError(f"{info.full_name} has several splits: add one of :{', :'.join(info.splits)}")
    (split,) = info.splits
  for name in _names(info, split):
    if name not in info.splits:
      raise UserError(f"{info.full_name} has no split '{name}'{nearest(name, info.splits)}")
  try:
    count = info.splits[split].num_examples
  except (ValueError, AssertionError) as error:
    raise UserError(f"{info.full_name}:{split}: {first_line(error)}") from error
  if not count:
    raise UserError(f"{info.full_name}:{split} is empty")
  return split


def _names(info: Any, split: str) -> list[str]:
  """Returns the names of the splits in 'train[:50%]+test', or in 'all'."""
  names = [part.split("[")[0].strip() for part in split.split("+")]
  return list(info.splits) if names == ["all"] else names


def _converter(features: Any, field: str) -> Callable[[Any], Any]:
  """Returns a function from the value of a field to that of a record.

  Raises:
    UserError: if the field is neither one text, nor a label, nor a picture.
  """
  for key in field.split("."):
    if not hasattr(features, "keys"):
      raise UserError(f"'{field}': there is nothing inside a {type(features).__name__}")
    if key not in features.keys():
      raise UserError(f"no field '{field}'{nearest(key, features.keys())}")
    features = features[key]
  if features.shape == () and features.np_dtype == np.object_:
    return lambda value: value.decode()
  if features.shape == () and hasattr(features, "int2str"):
    return features.int2str
  if len(features.shape) == 3 and features.np_dtype == np.uint8:
    return np.asarray
  kind = type(features).__name__
  raise UserError(f"field '{field}' is not one text, label or picture but {kind}")


def _nested(example: Any, keys: Sequence[str]) -> Any:
  """Returns the value that nested keys lead to."""
  for key in keys:
    example = example[key]
  return example

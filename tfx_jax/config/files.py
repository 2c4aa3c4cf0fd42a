"""Configurations in workdirs: WORKDIR/config.json, and what differs between two of them."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from tfx_jax.common.names import check_trust
from tfx_jax.common.whole_file import write_whole
from tfx_jax.config.defaults import base
from tfx_jax.config.old_formats import from_format_1
from tfx_jax.config.override import as_tuples
from tfx_jax.errors import UserError

# 2: structured settings (windows, groups, …) are Python values; those of format 1 are texts.
FORMAT_VERSION = 2
_FILE = "config.json"
# Defaults of older versions, where they have changed.
_OLD_DEFAULTS = {("model", "norm_epsilon"): 1e-6}


def write_config(
  workdir: str, config: ConfigDict, fingerprints: Mapping[str, str] | None = None
) -> None:
  """Writes WORKDIR/config.json, whole or not at all.

  Args:
    workdir: folder of the run, created if it is missing.
    config: configuration to write.
    fingerprints: fingerprints of the data, by split.

  Raises:
    UserError: if the workdir cannot be written.
  """
  path = os.path.join(workdir, _FILE)
  content = {
    "format_version": FORMAT_VERSION,
    # Results are the same bit for bit only with the same number of threads, which divide sums.
    "cpu_count": cpu_count(),
    "data_fingerprints": dict(fingerprints or {}),
    "config": config.to_dict(),
  }
  try:
    os.makedirs(workdir, exist_ok=True)
    write_whole(path, json.dumps(content, indent=1))
  except OSError as error:
    raise UserError(f"cannot write to workdir {workdir}: {error.strerror}") from error


def remove_config(workdir: str) -> None:
  """Removes WORKDIR/config.json, if that is possible."""
  with contextlib.suppress(OSError):
    os.remove(os.path.join(workdir, _FILE))


def read_config(workdir: str, given: Sequence[str] = ()) -> ConfigDict | None:
  """Returns the configuration of a workdir's run, to build the run from; None without a run.

  Args:
    workdir: folder of the run.
    given: keys that the user sets on the command line, in place of the values in the file.

  Raises:
    UserError: if it cannot be read, or names code although the folder is not trusted.
  """
  config = recorded_config(workdir)
  if config is not None:
    check_trust(os.path.join(workdir, _FILE), config, given)
  return config


def recorded_config(workdir: str) -> ConfigDict | None:
  """Returns the configuration of a workdir's run for comparisons only; None without a run.

  Nothing may be built from it, because it may name code of the folder's author. Keys that are newer
  than the file have their defaults.

  Raises:
    UserError: if it cannot be read.
  """
  content = _content(workdir)
  if content is None:
    return None
  config = base()
  try:
    sections = content["config"]
    if int(content["format_version"]) < FORMAT_VERSION:
      sections = from_format_1(sections)
    with config.unlocked():
      for section, values in sections.items():
        if isinstance(values, dict) and section in config:
          config[section].update(as_tuples(values))
        else:
          config[section] = values
  except (TypeError, ValueError) as error:
    raise UserError(f"cannot read {os.path.join(workdir, _FILE)}: {error}") from error
  return config


def keep_old_defaults(config: ConfigDict, workdir: str) -> list[str]:
  """Gives a configuration the defaults of the time when a workdir's run was started.

  So the command that started a run also resumes it.

  Returns:
    a line for each key that was changed.
  """
  recorded, defaults, old = recorded_config(workdir), base(), config.to_dict()
  for (section, name), value in _OLD_DEFAULTS.items():
    if recorded is not None and recorded[section][name] == value:
      if config[section][name] == defaults[section][name]:
        config[section][name] = value
  return differences(old, config.to_dict())


def differences(old: Mapping, new: Mapping, prefix: str = "") -> list[str]:
  """Returns a line 'key: old -> new' for each difference between two configurations."""
  lines = []
  for key in sorted({*old, *new}):
    name, a, b = prefix + key, old.get(key), new.get(key)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
      lines += differences(a, b, name + ".")
    elif a != b:
      lines.append(f"{name}: {a!r} -> {b!r}")
  return lines


def recorded_cpu_count(workdir: str) -> int | None:
  """Returns the number of processors that the run was started with; None if unknown."""
  return (_content(workdir) or {}).get("cpu_count")


def recorded_fingerprints(workdir: str) -> dict[str, str]:
  """Returns the fingerprints of the data that the run has read, by split.

  They are empty without a run, and for a run of a version that did not record them.
  """
  return (_content(workdir) or {}).get("data_fingerprints", {})


def cpu_count() -> int:
  """Returns the number of processors that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _content(workdir: str) -> dict | None:
  path = os.path.join(workdir, _FILE)
  if not os.path.exists(path):
    return None
  try:
    with open(path, encoding="utf-8-sig") as file:  # an editor may have put a byte order mark
      content = json.load(file)
    if "model_type" in content:
      return None  # a model of another library
    version = int(content["format_version"])
    content["config"].items()
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise UserError(f"cannot read {path}: {error}; is {workdir} the workdir of a run?") from error
  if version > FORMAT_VERSION:
    raise UserError(f"{path} has format {version}; this version reads up to {FORMAT_VERSION}")
  return content

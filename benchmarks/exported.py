"""Exports a trained run for the other libraries, in a process of its own.

    python benchmarks/exported.py WORKDIR FOLDER

FOLDER/huggingface is what `run.export` writes, FOLDER/ctranslate2 what CTranslate2 makes of that.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import rounds

FORMATS = ("huggingface", "ctranslate2")


def export(workdir: str, folder: str) -> None:
  """Exports a run, with CTranslate2's form if it is installed.

  Raises:
    rounds.Failed: with the error's line, for a model that has no form in transformers.
  """
  # The device is for the systems that are timed.
  environment = rounds.child_environment(0, {"JAX_PLATFORMS": "cpu"})
  command = [sys.executable, os.path.abspath(__file__), workdir, folder]
  done = subprocess.run(command, capture_output=True, text=True, env=environment)
  if done.returncode:
    raise rounds.Failed(done.stderr.strip().rpartition("\n")[2].removeprefix("error: "))


def opener(peer: str, folder: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
  """Returns the function that opens an exported model, and its arguments but `threads`.

  Args:
    peer: name of the peer, such as "ctranslate2_int8".
    folder: the folder that `export` wrote.
    settings: `beam`, `length_penalty`, `max_length`, and `rows` of a batch.
  """
  name = next(name for name in FORMATS if name in peer)
  arguments = {"exported": os.path.join(folder, "huggingface"), **settings}
  if name == "ctranslate2":
    arguments |= {"converted": os.path.join(folder, name), **kinds(peer)}
  return f"systems.{name}_decoding:open_exported", arguments


def kinds(peer: str) -> dict[str, bool]:
  """Returns how CTranslate2 computes, by the name of the peer."""
  return {"int8": "int8" in peer, "side_by_side": "parallel" in peer}


def peer_settings(generate: Mapping[str, Any], beam: int) -> dict[str, Any]:
  """Returns the settings of a search that the other libraries have too.

  Args:
    generate: our section `generate`.
    beam: W.
  """
  return {
    "beam": beam,
    "length_penalty": generate["length_penalty"],
    "max_length": generate["max_length"],
    "rows": generate["batch_size"],
  }


def main(workdir: str, folder: str) -> None:
  import tfx_jax

  plain, converted = (os.path.join(folder, name) for name in FORMATS)
  tfx_jax.load(workdir).export(plain)
  try:
    from ctranslate2.converters import TransformersConverter
  except ImportError:
    return
  TransformersConverter(plain).convert(converted)


if __name__ == "__main__":
  rounds.report_errors(lambda: main(*sys.argv[1:]))

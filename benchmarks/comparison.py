"""Comparison of tfx_jax with other libraries: shared options, systems, and printed results."""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import matmul
import rounds
import summary
from sizes import SIZES

from tfx_jax.runtime.allocator import KEPT_BUFFERS

DEFAULT = "tfx_jax"


def make_parser(description: str, peers: Mapping[str, str]) -> argparse.ArgumentParser:
  """Returns a parser of the common options; each peer also has a variant with allocator settings.

  Args:
    description: description of the command.
    peers: name -> the package that the peer needs or, in capitals, the environment variable with
      its folder.
  """
  parser = argparse.ArgumentParser(
    description=description, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  names = [name for peer in peers for name in (peer, f"{peer}+malloc")]
  parser.set_defaults(needs=peers)
  parser.add_argument("--size", default="tiny", choices=list(SIZES))
  parser.add_argument("--peer", action="append", default=[], choices=names)
  parser.add_argument("--threads", type=int, default=0, help="0: all processors")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
  parser.add_argument("--no_allocator", action="store_true", help="keep glibc's default malloc")
  parser.add_argument("--peak", type=float, default=0.0, help="FLOP/s; 0: measured first")
  return parser


def parse(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
  """Returns the options, with the actual `threads`, and the words "--config.KEY=VALUE"."""
  options, overrides = parser.parse_known_args()
  for word in overrides:
    if not word.startswith("--config."):
      parser.error(f"unrecognized argument: {word}")
  options.peer = list(dict.fromkeys(options.peer))
  check_peers(parser, options.peer, options.needs)
  if options.peer and options.dtype != "float32":
    parser.error(f"--dtype={options.dtype} is for ours alone: leave out --peer")
  options.threads = options.threads or len(rounds.processors())
  return options, overrides


def check_peers(
  parser: argparse.ArgumentParser, names: Sequence[str], needs: Mapping[str, str]
) -> None:
  """Ends the command, with a hint, if a peer cannot run; for `needs` see `make_parser`."""
  for name in names:
    if missing := _missing(needs[plain(name)]):
      parser.error(f"--peer={name} needs {missing}")


def _missing(need: str) -> str:
  """Returns a hint on how to install a missing peer; empty if it can run."""
  if need.isupper():
    here = os.path.isdir(os.environ.get(need, ""))
    return "" if here else f"{need}=FOLDER in the environment: benchmarks/README.md"
  return "" if importlib.util.find_spec(need) else f"pip install {need}"


def ours(options: argparse.Namespace, target: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the arguments of `rounds.Child` for tfx_jax."""
  return {
    "name": DEFAULT,
    "target": target,
    "arguments": arguments,
    "threads": options.threads,
    "environment": {} if options.no_allocator else KEPT_BUFFERS,
  }


def peer(
  name: str, options: argparse.Namespace, target: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns the arguments of `rounds.Child` for a peer, with the number of threads."""
  return {
    "name": name,
    "target": target,
    "arguments": {**arguments, "threads": options.threads},
    "threads": options.threads,
    "environment": rounds.MALLOC if name.endswith("+malloc") else {},
  }


def plain(name: str) -> str:
  """Returns a peer's name without its allocator settings."""
  return name.removesuffix("+malloc")


def run(
  specifications: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]], float]:
  """Returns the results of the rounds, facts about each system, and the peak in FLOP/s."""
  peak = options.peak or matmul.peak(options.threads, options.dtype)
  with rounds.children(specifications) as systems:
    results = rounds.interleave(systems, options.rounds)
    return results, {system.name: system.facts for system in systems}, peak


def show(lines: Sequence[Mapping[str, Any]], last: Mapping[str, Any]) -> None:
  """Prints a JSON line per system and one of ratios; warns if the machine was not idle."""
  for line in [*lines, last]:
    print(json.dumps(line), flush=True)
  if warning := summary.warning(lines):
    print(warning, file=sys.stderr)

"""Texts of `--help`."""

import textwrap
from collections.abc import Mapping

from tfx_jax.cli.options import DECLARED, MODES
from tfx_jax.config.experiment import experiments, summary

_OVERVIEW = """tfx trains, evaluates and uses Transformers that generate.

  tfx MODE [EXPERIMENT] [OPTIONS]   (the same: python -m tfx_jax.main --mode=MODE [OPTIONS])
  tfx MODE --help                   options of a mode

  tfx train EXPERIMENT [--workdir=DIR] [--config.KEY=VALUE …]
  tfx evaluate --workdir=DIR [--baseline=DIR]
  tfx generate --workdir=DIR --input=FILE --output=FILE
  tfx export --workdir=DIR --output=FOLDER
  tfx chat --workdir=DIR
  tfx demo --workdir=DIR
  tfx prepare EXPERIMENT
  tfx sweep EXPERIMENT --workdir=DIR --sweep.KEY=VALUE,VALUE,…
  tfx plan EXPERIMENT --devices=N

Modes; without one, train:

"""
# Modes that begin with an experiment rather than a run.
BEGINNING = ("train", "prepare", "sweep", "plan")
_WIDTH = 100


def help_text(mode: str = "") -> str:
  """Returns the options of a mode, or the overview of all modes."""
  if not mode:
    return f"{_OVERVIEW}{_table(MODES)}\n\n{_experiments()}"
  options = {
    _usage(name, option["metavar"]): option["help"]
    for name, option in DECLARED.items()
    if mode in option["modes"]
  }
  usage = f"tfx {mode} [OPTIONS]\n\n{MODES[mode]}\n\n{_table(options)}"
  if mode not in BEGINNING:
    return usage
  return f"{usage.replace(mode, f'{mode} [EXPERIMENT]', 1)}\n\n{_experiments()}"


def _experiments() -> str:
  """Returns a line for each experiment that comes with the package."""
  known = experiments()
  space = _WIDTH - max(map(len, known), default=0) - 4
  rows = {
    name: textwrap.shorten(summary(path).replace("`", ""), space, placeholder=" …")
    for name, path in known.items()
  }
  return f"Experiments; FILE.py is one of your own:\n\n{_table(rows)}"


def _usage(name: str, metavar: str) -> str:
  """Returns an option as it is written: '--workdir=DIR', '--config.KEY=VALUE', '--trust'."""
  if "=" in metavar:
    return f"--{metavar}"
  return f"--{name}={metavar}" if metavar else f"--{name}"


def _table(rows: Mapping[str, str]) -> str:
  """Returns two columns: names, and what they mean."""
  width = max(map(len, rows), default=0)
  return "\n".join(f"  {name:<{width}}  {meaning}" for name, meaning in rows.items())

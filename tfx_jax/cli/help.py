"""Texts of `--help`."""

from collections.abc import Mapping

from tfx_jax.cli.options import DECLARED, MODES

_OVERVIEW = """tfx trains, evaluates and uses Transformers that generate.

  tfx MODE [OPTIONS]              (the same: python -m tfx_jax.main --mode=MODE [OPTIONS])
  tfx MODE --help                 options of a mode

  tfx train --config=FILE.py [--workdir=DIR] [--config.KEY=VALUE …]
  tfx evaluate --workdir=DIR [--baseline=DIR]
  tfx generate --workdir=DIR --input=FILE --output=FILE
  tfx chat --workdir=DIR
  tfx prepare --config=FILE.py
  tfx sweep --config=FILE.py --workdir=DIR --sweep.KEY=VALUE,VALUE,…
  tfx plan --config=FILE.py --devices=N

Modes; without one, train:
"""


def help_text(mode: str = "") -> str:
  """Returns the options of a mode, or the overview of all modes."""
  if not mode:
    return _OVERVIEW + _table(MODES)
  options = {
    _usage(name, option["metavar"]): option["help"]
    for name, option in DECLARED.items()
    if mode in option["modes"]
  }
  return f"tfx {mode} [OPTIONS]\n\n{MODES[mode]}\n\n{_table(options)}"


def _usage(name: str, metavar: str) -> str:
  """Returns an option as it is written: '--workdir=DIR', '--config.KEY=VALUE', '--trust'."""
  if "=" in metavar:
    return f"--{metavar}"
  return f"--{name}={metavar}" if metavar else f"--{name}"


def _table(rows: Mapping[str, str]) -> str:
  """Returns two columns: names, and what they mean."""
  width = max(map(len, rows))
  return "\n".join(f"  {name:<{width}}  {meaning}" for name, meaning in rows.items())

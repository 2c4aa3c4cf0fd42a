"""The options of the command line, and which of them go together."""

import argparse
import math
from collections.abc import Sequence

from tfx_jax.errors import UserError, nearest

MODES = ("train", "evaluate", "generate", "chat", "prepare", "sweep", "plan")
USAGE = """python -m tfx_jax.main --config=FILE.py[:ARGUMENT] [--workdir=DIR] [--config.KEY=VALUE …]
       python -m tfx_jax.main --workdir=DIR --mode=evaluate [--baseline=DIR]
       python -m tfx_jax.main --workdir=DIR --mode=generate --input=FILE|- --output=FILE|-
       python -m tfx_jax.main --workdir=DIR --mode=chat
       python -m tfx_jax.main --config=FILE.py --mode=prepare
       python -m tfx_jax.main --config=FILE.py --mode=plan --devices=N
       python -m tfx_jax.main --config=FILE.py --workdir=DIR --mode=sweep --sweep.KEY=VALUE,VALUE,…
           [--sweep.KEY=VALUE,… …]
       train and sweep: [--restarts=N] [--silence=SECONDS]
       with a folder whose config.json names code (package.module:Name): [--trust]

Of a run of several processes each is started with the same command and
       --coordinator=HOST:PORT --processes=N --process=I, or --coordinator=auto"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
  """Options; `overrides` and `sweeps` are pairs of config key and text in the order given.

  Raises:
    UserError: for an unknown option, or one that means nothing here.
  """
  overrides, sweeps, rest = [], [], []
  for word in arguments:
    option, given, value = word.partition("=")
    if option.startswith("--config."):
      overrides.append((option.removeprefix("--config."), value if given else "True"))
    elif option.startswith("--sweep."):
      sweeps.append((option.removeprefix("--sweep."), value))
    else:
      rest.append(word)
  parser = argparse.ArgumentParser(
    "tfx_jax.main", usage=USAGE, allow_abbrev=False, exit_on_error=False
  )
  parser.add_argument("--config", default="", help="experiment file, and its argument")
  parser.add_argument("--workdir", default="", help="where the run is kept; default runs/NAME")
  parser.add_argument("--mode", default="train", help=", ".join(MODES))
  parser.add_argument("--input", default="-", help="texts to generate from, one a line; -: stdin")
  parser.add_argument("--output", default="-", help="where outputs are written; -: stdout")
  parser.add_argument(
    "--trust", action="store_true", help="run code that the config.json of a folder names"
  )
  parser.add_argument("--baseline", default="", help="workdir of a run to compare with (evaluate)")
  parser.add_argument("--restarts", type=int, help="how often a run that died is started again")
  parser.add_argument("--silence", type=float, help="seconds after which a silent run hangs")
  parser.add_argument("--devices", type=int, help="that there would be (plan)")
  parser.add_argument(
    "--coordinator", default="", help="HOST:PORT of process 0, or auto: as the cluster says"
  )
  parser.add_argument("--processes", type=int, help="how many there are")
  parser.add_argument("--process", type=int, help="which of them this is, from 0")
  parser.set_defaults(overrides=overrides, sweeps=sweeps)
  try:
    options, unknown = parser.parse_known_args(rest)
  except argparse.ArgumentError as error:
    raise UserError(str(error)) from error
  if unknown:
    name = unknown[0].split("=")[0]
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    raise UserError(f"unknown argument {unknown[0]}{nearest(name, known)}")
  if options.mode not in MODES:
    raise UserError(f"--mode={options.mode}{nearest(options.mode, MODES)}")
  for option, given, modes in (
    ("--baseline", options.baseline, ("evaluate",)),
    ("--sweep.KEY", options.sweeps, ("sweep",)),
    ("--restarts", options.restarts is not None, ("train", "sweep")),
    ("--silence", options.silence is not None, ("train", "sweep")),
    ("--devices", options.devices is not None, ("plan",)),
  ):
    if given and options.mode not in modes:
      raise UserError(f"{option} needs --mode={' or '.join(modes)}")
  if (options.restarts or 0) < 0:
    raise UserError(f"--restarts={options.restarts}: use 0 or more")
  if options.silence is not None and not 0 < options.silence < math.inf:
    raise UserError(f"--silence={options.silence}: use seconds above 0")
  return options

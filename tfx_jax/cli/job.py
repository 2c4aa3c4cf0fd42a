"""The configuration and inputs of a command, read before anything slow is imported."""

import dataclasses
import os
import sys

from ml_collections import ConfigDict

from tfx_jax.cli.options import Options
from tfx_jax.cli.text_files import read_lines
from tfx_jax.config import files as config_files
from tfx_jax.config.experiment import read_experiment
from tfx_jax.config.override import override
from tfx_jax.errors import UserError
from tfx_jax.sweep.grid import Cell, make_grid


@dataclasses.dataclass(frozen=True)
class Job:
  """Inputs of a command.

  Attributes:
    options: options of the command line.
    config: configuration of the experiment or the run, changed by the options `--config.KEY`.
    workdir: workdir of the run, or of the sweep that holds the runs.
    texts: lines of `--input`, in mode generate.
    cells: combinations of settings, in mode sweep.
  """

  options: Options
  config: ConfigDict
  workdir: str
  texts: list[str]
  cells: list[Cell]


def read_job(options: Options) -> Job:
  """Reads what the options name.

  Raises:
    UserError: for a missing option, or a file or value that cannot be used.
  """
  config = _read_config(options)
  for key, text in options.overrides:
    override(config, key, text)
  cells = []
  if options.mode == "sweep":
    cells = make_grid(config, options.sweeps, [key for key, _ in options.overrides])
  workdir = options.workdir or os.path.join("runs", run_name(options.config))
  complete(config, workdir, options.mode)
  texts = read_lines(options.input) if options.mode == "generate" else []
  return Job(options, config, workdir, texts, cells)


def complete(config: ConfigDict, workdir: str, mode: str) -> None:
  """Sets what an earlier session of the run and `train.init_from` decide, and reports it."""
  for line in config_files.keep_old_defaults(config, workdir):
    print(f"as when this run began: {line}", file=sys.stderr)
  if config.train.init_from and mode in ("train", "prepare"):
    from tfx_jax.run import loading

    for line in loading.adopt(config, workdir):
      print(f"by train.init_from: {line}", file=sys.stderr)


def _read_config(options: Options) -> ConfigDict:
  """Returns the configuration of `--config`, else of the run or model in `--workdir`."""
  if options.config:
    return read_experiment(options.config)
  if options.mode == "sweep":
    raise UserError("--mode=sweep needs --config=EXPERIMENT")
  if not options.workdir:
    raise UserError(
      "give --config=EXPERIMENT, or --workdir=DIR of a run; --help lists the experiments"
    )
  config = config_files.read_config(options.workdir, [key for key, _ in options.overrides])
  on_hub = options.workdir.startswith("hf://")
  if config is None and (on_hub or os.path.exists(f"{options.workdir}/config.json")):
    from tfx_jax.run import loading

    config = loading.read_config(options.workdir)
  if config is None:
    raise UserError(f"{options.workdir} holds no run; give --config=EXPERIMENT to begin one there")
  return config


def run_name(config: str) -> str:
  """Returns the name of an experiment's run: 'wmt:big' -> 'wmt-big'."""
  path, _, argument = config.partition(":")
  name = os.path.splitext(os.path.basename(path))[0]
  return f"{name}-{argument}" if argument else name

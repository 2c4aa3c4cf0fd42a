"""Commands called from Python and notebooks."""

import contextlib
import sys
from collections.abc import Iterator

from ml_collections import ConfigDict

from tfx_jax.cli import modes
from tfx_jax.cli.job import Job, complete
from tfx_jax.cli.options import Options
from tfx_jax.common.names import trusting
from tfx_jax.config.experiment import read_experiment
from tfx_jax.errors import UserError, as_path
from tfx_jax.report.live import in_notebook
from tfx_jax.run.loading import load
from tfx_jax.run.run import Run


def experiment(name: str) -> ConfigDict:
  """Returns the configuration of an experiment, which may be changed before training.

  Args:
    name: 'quickstart', or another experiment of the package, or 'FILE.py'; 'quickstart:en-fr' gives
      an argument.

  Raises:
    UserError: if there is no such experiment, or it sets a key that does not exist.
  """
  return read_experiment(name)


def train(config: ConfigDict, workdir: str) -> Run:
  """Trains a run, or resumes it, evaluates it on the test set, and opens it.

  This is the command `tfx train`. In a notebook curves and samples are shown while it trains.
  Interrupting it saves a checkpoint, and the same call resumes.

  Args:
    config: the configuration, such as `base()` with changes; it is not changed.
    workdir: folder of the run.

  Raises:
    UserError: for a configuration or data that cannot be used.
    KeyboardInterrupt: if a signal stopped the run, after its state has been saved.
  """
  workdir = as_path("train: workdir", workdir)
  config = _copied("train", config)
  with trusting(True), _messages_as_output():
    complete(config, workdir, "train")
    options = Options(mode="train", workdir=workdir)
    if modes.run(Job(options, config, workdir, texts=[], cells=[])):
      raise KeyboardInterrupt
    return load(workdir)


def plan(config: ConfigDict, devices: int) -> None:
  """Prints memory and FLOPs of a training step on devices that need not be there.

  This is the command `tfx plan`.

  Args:
    config: the configuration; it is not changed.
    devices: number of devices.

  Raises:
    UserError: if the mesh does not fit so many devices, or the step cannot be compiled.
  """
  config = _copied("plan", config)
  options = Options(mode="plan", devices=devices)
  with trusting(True), _messages_as_output():
    modes.run(Job(options, config, workdir="", texts=[], cells=[]))


def _copied(name: str, config: ConfigDict) -> ConfigDict:
  if not isinstance(config, ConfigDict):
    raise UserError(f"{name}: config is {type(config).__name__}: use a ConfigDict, from base()")
  return config.copy_and_resolve_references()


@contextlib.contextmanager
def _messages_as_output() -> Iterator[None]:
  """Sends messages to standard output in a notebook, which shows standard error as a fault."""
  with contextlib.redirect_stderr(sys.stdout) if in_notebook() else contextlib.nullcontext():
    yield

"""Writes a trained model for other programs."""

from ml_collections import ConfigDict

from tfx_jax.cli.console import say
from tfx_jax.errors import UserError
from tfx_jax.run.loading import load


def export(config: ConfigDict, workdir: str, folder: str, format: str, architecture: str) -> int:
  """Writes the model of a run into a new folder, see `Run.export`.

  Args:
    config: the run's configuration, with the changes of the command line.
    workdir: the run.
    folder: a folder that is empty or does not exist yet.
    format: "huggingface", "safetensors" or "adapters".
    architecture: architecture of transformers; by default the first that has these settings.

  Raises:
    UserError: without a folder, or if the model has no such form.
  """
  if folder == "-":
    raise UserError("--mode=export needs --output=FOLDER, which must be new or empty")
  say(f"loading {workdir}")
  load(workdir, config=config).export(folder, format, architecture)
  say(f"written to {folder}")
  return 0

"""Foreseen result of an export, from the configuration alone."""

from ml_collections import ConfigDict

from tfx_jax.config import base
from tfx_jax.errors import UserError
from tfx_jax.pretrained.export import find_family


def exported_form(config: ConfigDict) -> str:
  """Returns the architecture of transformers that `Run.export` writes, or why there is none."""
  try:
    return find_family(config.model.to_dict(), base().model.to_dict()).architecture
  except UserError as error:
    return str(error)

"""The objective of autoencoders."""

from typing import cast

import jax

from tfx_jax.losses.frames import squared_error
from tfx_jax.models.autoencoder import AutoencoderModel
from tfx_jax.models.model import Batch, Params
from tfx_jax.training.objective import Sums


class ReconstructionObjective:
  """Mean squared error of reconstructed frames; targets are not read.

  Args:
    model: the autoencoder.
  """

  def __init__(self, model: AutoencoderModel):
    self.model = model

  def __call__(self, params: Params, batch: Batch, key: jax.Array | None = None) -> Sums:
    """Returns the sums for a batch; `loss` is the error."""
    rngs = None if key is None else {"dropout": key}
    frames = self.model.bind({"params": params}, rngs=rngs)(batch)
    real = cast(jax.Array, batch["inputs_segments"] > 0)
    error, weight = squared_error(frames, batch["inputs"], real)
    return Sums(error, weight, {"loss": (error, weight)})

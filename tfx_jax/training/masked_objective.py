"""The objective of models that predict masked tokens."""

import jax
import jax.numpy as jnp

from tfx_jax.losses.cross_entropy import chunked_cross_entropy
from tfx_jax.losses.masked import length_cross_entropy, masked_places
from tfx_jax.models.masked import MaskedModel
from tfx_jax.models.model import Batch, FrameOutput, Hidden, Params
from tfx_jax.training.objective import Sums, default_chunks


class MaskedObjective:
  """Cross-entropy of masked tokens in nats, and of the length of each target.

  Of each target a share cos(pi/2 * u) is masked, u uniform from 0 to 1 (Chang et al. 2022,
  arXiv:2202.04200, section 3.1), and only masked tokens have weight. The loss is no likelihood.

  Args:
    model: the model.
    mask: id that masked tokens are replaced by.
    label_smoothing: probability that is spread over the whole vocabulary.
    z_loss: weight of log(Z)^2.
    loss_chunks: number of chunks of T whose logits are computed at a time; 0 for
      `default_chunks`.
    device_parts: numbers of parts that devices split rows and their length into.
    plain_gradients: whether JAX derives the gradient, see `layers/gradients.py`.
  """

  def __init__(
    self,
    model: MaskedModel,
    mask: int,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    loss_chunks: int = 0,
    device_parts: tuple[int, int] = (1, 1),
    plain_gradients: bool = False,
  ):
    self.model, self._mask = model, mask
    self._label_smoothing, self._z_loss = label_smoothing, z_loss
    self._loss_chunks, self._device_parts = loss_chunks, device_parts
    self._plain_gradients = plain_gradients

  def __call__(self, params: Params, batch: Batch, key: jax.Array | None = None) -> Sums:
    """Returns the sums for a batch; without a key, the same places are masked each time."""
    dropout = None if key is None else {"dropout": jax.random.fold_in(key, 0)}
    places = jax.random.fold_in(jax.random.key(0) if key is None else key, 1)
    masked = masked_places(places, batch["targets_segments"])  # bool [B,T]
    weights = batch["weights"] * masked
    inputs = jnp.where(masked, self._mask, batch["targets"])
    bound = self.model.bind({"params": params}, rngs=dropout)
    memory = bound.encode(batch)
    hidden = bound({**batch, "decoder_inputs": inputs}, memory)

    def head(hidden: Hidden) -> jax.Array:
      logits = bound.logits(hidden)
      assert not isinstance(logits, FrameOutput), "the model's targets are frames"
      return logits

    rows, length = batch["targets"].shape
    objective, nll = chunked_cross_entropy(
      head,
      hidden,
      batch["targets"],
      weights,
      chunks=self._loss_chunks or default_chunks(rows, length, *self._device_parts),
      label_smoothing=self._label_smoothing,
      z_loss=self._z_loss,
      plain_gradients=self._plain_gradients,
    )
    weight = weights.sum()
    metrics = {"loss": (nll, weight)}
    if (lengths := bound.lengths(memory)) is not None:
      segments = batch["inputs_segments"], batch["targets_segments"]
      length_nll, count = length_cross_entropy(lengths, *segments)
      metrics["length_loss"] = (length_nll, count)
      # As much weight as a token of each target.
      objective, weight = objective + length_nll, weight + count
    return Sums(objective, weight, metrics)

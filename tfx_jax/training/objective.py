"""Training objectives: from parameters and a batch to sums that the training step divides once."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from tfx_jax.codecs.special_tokens import DEFAULT
from tfx_jax.losses.cross_entropy import chunked_cross_entropy
from tfx_jax.losses.frames import absolute_error, stop_cross_entropy
from tfx_jax.models.model import Batch, BoundModel, FrameOutput, Hidden, Model, Params

Tree = TypeVar("Tree")

# Tokens of a chunk of the loss by default: its logits then stay in a processor's cache.
CHUNK_TOKENS = 256


class Sums(NamedTuple):
  """Sums over the targets of a batch; means are taken over whole batches, by one division.

  Attributes:
    objective: scalar, the sum to minimise.
    weight: scalar, the sum of the targets' weights.
    metrics: by name, a metric's sum and the weight to divide it by. All objectives have `loss`, by
      which models are compared: without label smoothing and the like.
  """

  objective: jax.Array
  weight: jax.Array
  metrics: Mapping[str, tuple[jax.Array, jax.Array]]


class Objective(Protocol):
  """A training objective."""

  def __call__(self, params: Params, batch: Batch, key: jax.Array | None = None) -> Sums:
    """Returns the sums for a batch. Dropout is active if there is a key for it."""
    ...


class TokenObjective:
  """Cross-entropy of tokens in nats, see `losses/cross_entropy.py`.

  Args:
    model: the model.
    label_smoothing: probability that is spread over the whole vocabulary.
    z_loss: weight of log(Z)^2.
    token_dropout: probability with which a decoder input is masked if there is a key, see
      `mask_tokens`.
    r_drop: weight of the divergence between predictions under two dropout masks. If it is above 0
      and there is a key, each row is read under both, and sums are halved.
    loss_chunks: number of chunks of T whose logits are computed at a time; 0 for
      `default_chunks`.
    mask: id that masked inputs are replaced by.
    device_parts: numbers of parts that devices split rows and their length into.
    plain_gradients: whether JAX derives the gradient, see `layers/gradients.py`.
  """

  def __init__(
    self,
    model: Model,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    token_dropout: float = 0.0,
    r_drop: float = 0.0,
    loss_chunks: int = 0,
    mask: int = DEFAULT.mask,
    device_parts: tuple[int, int] = (1, 1),
    plain_gradients: bool = False,
  ):
    self.model = model
    self._label_smoothing, self._z_loss, self._r_drop = label_smoothing, z_loss, r_drop
    self._token_dropout, self._mask = token_dropout, mask
    self._loss_chunks, self._device_parts = loss_chunks, device_parts
    self._plain_gradients = plain_gradients

  def __call__(self, params: Params, batch: Batch, key: jax.Array | None = None) -> Sums:
    """Returns the sums for a batch; `loss` is the cross-entropy."""
    weight = batch["weights"].sum()
    r_drop = self._r_drop if key is not None else 0.0
    if r_drop:
      batch = _twice(batch)
    if self._token_dropout and key is not None:
      batch = mask_tokens(batch, self._token_dropout, self._mask, jax.random.fold_in(key, 0))
    bound = _bind(self.model, params, key)

    def head(hidden: Hidden) -> jax.Array:
      logits = bound.logits(hidden, batch.get("inputs"))
      assert not isinstance(logits, FrameOutput), "the model's targets are frames"
      return logits

    rows, length = batch["targets"].shape
    objective, nll = chunked_cross_entropy(
      head,
      bound(batch),
      batch["targets"],
      batch["weights"],
      chunks=self._loss_chunks or default_chunks(rows, length, *self._device_parts),
      label_smoothing=self._label_smoothing,
      z_loss=self._z_loss,
      r_drop=r_drop,
      plain_gradients=self._plain_gradients,
    )
    if r_drop:
      objective, nll = objective / 2, nll / 2
    return Sums(objective, weight, {"loss": (nll, weight)})


class FrameObjective:
  """Absolute error of frames plus the cross-entropy of where they stop, see `losses/frames.py`.

  Args:
    model: a model whose targets are frames.
  """

  def __init__(self, model: Model):
    self.model = model

  def __call__(self, params: Params, batch: Batch, key: jax.Array | None = None) -> Sums:
    """Returns the sums for a batch; `loss` is the sum of `frame_error` and `stop_loss`."""
    bound = _bind(self.model, params, key)
    output = bound.logits(bound(batch), batch.get("inputs"))
    assert isinstance(output, FrameOutput), "the model's targets are tokens"
    weights = batch["weights"]
    error, weight = absolute_error(output.frames, batch["targets"], weights)
    stop, _ = stop_cross_entropy(output.stop, last_of_each(batch["targets_segments"]), weights)
    metrics = {"loss": error + stop, "frame_error": error, "stop_loss": stop}
    return Sums(error + stop, weight, {name: (total, weight) for name, total in metrics.items()})


def mask_tokens(batch: Batch, rate: float, mask: int, key: jax.Array) -> Batch:
  """Returns a batch whose decoder inputs [B,T] are replaced by the id `mask` at random places.

  Predictions then depend more on the source and less on the last tokens (word dropout, Bowman et
  al. 2016, arXiv:1511.06349, section 3.1). Inputs that are not among the targets are kept: the
  first one of each target, and the source of a decoder-only model.

  Args:
    batch: the batch.
    rate: probability of each input.
    mask: id of a masked token.
    key: key of the draws.
  """
  segments, is_target = batch["targets_segments"], batch["weights"] > 0
  # The input of a position is the target of the one before it.
  is_input = (segments[:, 1:] == segments[:, :-1]) & is_target[:, :-1]
  is_input = jnp.pad(is_input, ((0, 0), (1, 0)))  # [B,T-1] -> [B,T]
  masked = is_input & jax.random.bernoulli(key, rate, is_input.shape)
  return {**batch, "decoder_inputs": jnp.where(masked, mask, batch["decoder_inputs"])}


def last_of_each(segments: jax.Array) -> jax.Array:
  """Returns bool [B,T], true at the last position of each example of packed rows [B,T]."""
  following = jnp.pad(segments[:, 1:], ((0, 0), (0, 1)))
  return (segments > 0) & (segments != following)


def default_chunks(rows: int, length: int, row_parts: int = 1, length_parts: int = 1) -> int:
  """Returns a number of chunks that divides `length`, for chunks of `CHUNK_TOKENS` tokens or more.

  Tokens are those of one device, where devices split rows and their length into parts.
  """
  rows, length = max(rows // row_parts, 1), max(length // length_parts, 1)
  wanted = max(rows * length // CHUNK_TOKENS, 1)
  return max(n for n in range(1, length + 1) if length % n == 0 and n <= wanted)


def _bind(model: Model, params: Params, key: jax.Array | None) -> BoundModel:
  return model.bind({"params": params}, rngs=None if key is None else {"dropout": key})


def _twice(batch: Tree) -> Tree:
  """Returns a batch that holds each row twice, as neighbours: [B,…] -> [2B,…]."""
  return jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), batch)

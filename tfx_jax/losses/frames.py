"""Losses of predicted frames and of where to stop, each as (sum, weight)."""

import jax
import jax.numpy as jnp


def absolute_error(
  frames: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the weighted sum over frames of their mean absolute error, and the sum of weights.

  Args:
    frames: predictions [B,T,C].
    targets: [B,T,C].
    weights: [B,T].
  """
  errors = jnp.abs(frames.astype(jnp.float32) - targets.astype(jnp.float32))
  return (errors.mean(axis=-1) * weights).sum(), weights.sum()  # [B,T,C] -> [B,T] -> scalar


def squared_error(
  frames: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the weighted sum over frames of their mean squared error, and the sum of weights.

  Arguments as in `absolute_error`.
  """
  errors = jnp.square(frames.astype(jnp.float32) - targets.astype(jnp.float32))
  weights = weights.astype(jnp.float32)
  return (errors.mean(axis=-1) * weights).sum(), weights.sum()  # [B,T,C] -> [B,T] -> scalar


def stop_cross_entropy(
  stop: jax.Array, last: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the weighted sum over frames of the stop's cross-entropy in nats, and that of weights.

  Args:
    stop: logits of the probability that a frame is the last, [B,T].
    last: bool [B,T], true at the last frame of each sequence.
    weights: [B,T].
  """
  stop = stop.astype(jnp.float32)
  # -log sigmoid(stop) at the last frame, -log(1 - sigmoid(stop)) elsewhere.
  nll = jax.nn.softplus(jnp.where(last, -stop, stop))
  return (nll * weights).sum(), weights.sum()

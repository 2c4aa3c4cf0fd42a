"""The training step: sums of loss and gradient first, one division, one update."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import metrics
from flax import linen as nn

from tfx_jax.losses.cross_entropy import chunked_cross_entropy, cross_entropy, split
from tfx_jax.training.optimizer import Schedule
from tfx_jax.training.state import TrainState, update_ema

Batch = Mapping[str, jax.Array]

# Tokens of a piece of the loss when none is asked for: logits then stay in a processor's cache.
CHUNK_TOKENS = 256


def make_train_step(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  schedule: Schedule,
  seed: int,
  *,
  label_smoothing: float,
  z_loss: float,
  r_drop: float,
  loss_chunks: int,
  microbatches: int,
  ema_decay: float,
  parts: tuple[int, int] = (1, 1),
  plain_gradients: bool = False,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]:
  """Returns step(state, batch) -> (state, figures), to be jitted with the state donated.

  The gradient is that of the loss summed over the whole batch, divided once by the batch's weight:
  `microbatches` parts of the rows, however padded, give the same update as one. Randomness comes
  from (seed, step) alone. `parts` is into how many parts devices split a batch's rows, and a row's
  length. With `r_drop` every row is read under two dropout masks, side by side,
  and the sums are halved. With `plain_gradients` JAX derives the loss's gradient, see
  `layers/gradients.py`. With `ema_decay` the state's average follows the parameters.

  Where the loss, the norm of its gradient or that of the update is not finite, the step is skipped:
  it counts, and all else stays as it was.

  Figures are clu metrics: `loss`, the cross-entropy in nats per token, and `objective`, which is
  minimised, carry their sums and weights; `grad_norm` and `learning_rate` are of this step, and so
  is `skipped`, 1 or 0.
  """

  def sums(params: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    if r_drop:
      batch = {name: jnp.repeat(x, 2, axis=0) for name, x in batch.items()}
    bound = model.bind({"params": params}, rngs={"dropout": key})
    totals = chunked_cross_entropy(
      lambda hidden: bound.logits(hidden, batch.get("inputs")),
      bound(batch),
      batch["targets"],
      batch["weights"],
      chunks=loss_chunks or default_chunks(*batch["targets"].shape, *parts),
      label_smoothing=label_smoothing,
      z_loss=z_loss,
      r_drop=r_drop,
      plain_gradients=plain_gradients,
    )
    return tuple(x / 2 for x in totals) if r_drop else totals

  def accumulate(params: Any, batch: Batch, key: jax.Array) -> tuple:
    """Sums of the objective, of the cross-entropy, and of the gradient, over all microbatches."""
    gradient = jax.value_and_grad(sums, has_aux=True)
    if microbatches == 1:
      return gradient(params, batch, key)
    # Strided, so that each device's rows stay where they are.
    parts = {
      name: jnp.swapaxes(x.reshape(-1, microbatches, *x.shape[1:]), 0, 1)
      for name, x in batch.items()
    }

    def body(total: tuple, part: tuple) -> tuple[tuple, None]:
      batch, number = part
      return jax.tree.map(
        jnp.add, total, gradient(params, batch, jax.random.fold_in(key, number))
      ), None

    shapes = jax.eval_shape(gradient, params, jax.tree.map(lambda x: x[0], parts), key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(body, zeros, (parts, jnp.arange(microbatches)))[0]

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    (objective, nll), grads = accumulate(state.params, batch, key)
    weight = batch["weights"].sum()
    grads = jax.tree.map(lambda g: g / jnp.maximum(weight, 1.0), grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    norm = optax.tree.norm(grads)
    # An optimizer may make 0 / 0 of a gradient that is finite.
    finite = jnp.isfinite(nll + objective + norm + optax.tree.norm(updates))
    figures = {
      "loss": metrics.Average(total=nll, count=weight),
      "objective": metrics.Average(total=objective, count=weight),
      "grad_norm": metrics.LastValue(value=norm),
      "learning_rate": metrics.LastValue(value=schedule(state.step)),
      "skipped": metrics.LastValue(value=1.0 - finite),
    }
    params = optax.apply_updates(state.params, updates)
    ema = update_ema(state.ema, params, ema_decay, state.step) if ema_decay else None
    updated = TrainState(state.step, params, opt_state, ema)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
    return kept.replace(step=state.step + 1), figures

  return step


def make_loss_step(
  model: nn.Module, parts: tuple[int, int] = (1, 1)
) -> Callable[[Any, Batch], metrics.Average]:
  """Returns loss(params, batch): the cross-entropy's sum and weight, in nats and tokens."""

  def loss(params: Any, batch: Batch) -> metrics.Average:
    bound = model.bind({"params": params})
    hidden = bound(batch)
    chunks = default_chunks(*batch["targets"].shape, *parts)
    pieces = split((hidden, batch["targets"], batch["weights"]), chunks)

    def nll(piece: tuple) -> jax.Array:
      hidden, targets, weights = piece
      logits = bound.logits(hidden, batch.get("inputs"))
      return cross_entropy(logits, targets, weights)[1]

    return metrics.Average(total=jax.lax.map(nll, pieces).sum(), count=batch["weights"].sum())

  return loss


def default_chunks(rows: int, length: int, row_parts: int = 1, length_parts: int = 1) -> int:
  """The divisor of `length` whose pieces come closest to `CHUNK_TOKENS` tokens from above.

  Of tokens of a device, where rows and their length are split into parts; all have as many.
  """
  rows, length = max(rows // row_parts, 1), max(length // length_parts, 1)
  wanted = max(rows * length // CHUNK_TOKENS, 1)
  return max(n for n in range(1, length + 1) if length % n == 0 and n <= wanted)

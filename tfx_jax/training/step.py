"""The training step: sums over microbatches, one division by the weight, one update."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from clu.metrics import Average, LastValue, Metric

from tfx_jax.common.tree import Tree
from tfx_jax.models.model import Batch, Params
from tfx_jax.training.objective import Objective, Sums
from tfx_jax.training.optimizer import Schedule
from tfx_jax.training.state import TrainState, update_ema

# (params, batch, key) -> sums and the gradient of the objective's sum.
Gradient = Callable[[Params, Batch, jax.Array], tuple[Sums, Params]]


def make_train_step(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  schedule: Schedule,
  seed: int,
  *,
  microbatches: int = 1,
  ema_decay: float = 0.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Metric]]]:
  """Returns step(state, batch) -> (state, metrics), to be jitted with the state donated.

  Sums are divided once, by the weight of the whole batch, so that any number of microbatches gives
  the same update. Randomness comes from (seed, step) alone.

  Where a sum, the norm of the gradient or that of the update is not finite, the step is skipped: it
  is counted, and all else stays as it was.

  Metrics are weighted means of the objective's own metrics and of `objective`; and, for this step
  alone, `grad_norm`, `learning_rate` and `skipped`, 1 or 0.

  Args:
    objective: the objective to minimize.
    optimizer: its updates are added to the parameters.
    schedule: step -> learning rate, to report it.
    seed: seed of dropout.
    microbatches: number of parts that a batch's rows are processed in, one after the other.
    ema_decay: decay of the moving average of the parameters; 0 for none.
  """

  def loss_sums(params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Sums]:
    sums = objective(params, batch, key)
    return sums.objective, sums

  def gradient(params: Params, batch: Batch, key: jax.Array) -> tuple[Sums, Params]:
    (_, sums), grads = jax.value_and_grad(loss_sums, has_aux=True)(params, batch, key)
    return sums, grads

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Metric]]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    sums, grads = _accumulate(gradient, microbatches, state.params, batch, key)
    grads = jax.tree.map(lambda g: g / jnp.maximum(sums.weight, 1.0), grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = update_ema(state.ema, params, ema_decay, state.step) if ema_decay else None
    norm = optax.tree.norm(grads)
    # These sums have no common unit; what matters is whether all of them are finite.
    totals = sums.objective + sum(total for total, _ in sums.metrics.values())
    # An optimizer may compute 0 / 0 from a gradient that is finite.
    finite = jnp.isfinite(totals + norm + optax.tree.norm(updates))
    updated = TrainState(state.step, params, opt_state, ema)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
    metrics = {
      **_averages(sums),
      "objective": Average(total=sums.objective, count=sums.weight),
      "grad_norm": LastValue(value=norm),
      "learning_rate": LastValue(value=schedule(state.step)),
      "skipped": LastValue(value=1.0 - finite),
    }
    return kept.replace(step=state.step + 1), metrics

  return step


def make_loss_step(objective: Objective) -> Callable[[Params, Batch], Average]:
  """Returns loss(params, batch): the sum and the weight of the objective's `loss`, no dropout."""
  return lambda params, batch: _averages(objective(params, batch))["loss"]


def _averages(sums: Sums) -> dict[str, Average]:
  return {name: Average(total=x, count=weight) for name, (x, weight) in sums.metrics.items()}


def _accumulate(
  gradient: Gradient, microbatches: int, params: Params, batch: Batch, key: jax.Array
) -> tuple[Sums, Params]:
  """Returns the sums of `gradient` over all microbatches, each with a key of its own."""
  if microbatches == 1:
    return gradient(params, batch, key)
  # [B,…] -> [M,B/M,…]. Microbatch m takes rows m, m+M, …, so that no row changes its device.
  microbatched = jax.tree.map(
    lambda x: jnp.swapaxes(x.reshape(-1, microbatches, *x.shape[1:]), 0, 1), batch
  )

  def add(total: Tree, microbatch: tuple[Batch, jax.Array]) -> tuple[Tree, None]:
    rows, number = microbatch
    result = gradient(params, rows, jax.random.fold_in(key, number))
    return jax.tree.map(jnp.add, total, result), None

  first = jax.tree.map(lambda x: x[0], microbatched)
  shapes = jax.eval_shape(gradient, params, first, key)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return jax.lax.scan(add, zeros, (microbatched, jnp.arange(microbatches)))[0]

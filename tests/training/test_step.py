import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from support.small_model import (
  TARGET_LENGTH,
  TOKENS,
  Bag,
  small_batch,
  small_model,
)

from tfx_jax.losses.cross_entropy import cross_entropy
from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.optimizer import make_optimizer, make_schedule
from tfx_jax.training.state import TrainState, init_params
from tfx_jax.training.step import make_loss_step, make_train_step

SMOOTHING, Z_LOSS = 0.1, 0.01
BATCH = small_batch(8)


def make_step(model, microbatches=1, optimizer="sgd", rate=1.0, r_drop=0.0, ema_decay=0.0):
  """A jitted step, and the optimizer."""
  schedule = make_schedule("constant", rate, 0, 0.0, 100)
  if isinstance(optimizer, str):
    optimizer = make_optimizer(schedule, optimizer)
  objective = TokenObjective(
    model, label_smoothing=SMOOTHING, z_loss=Z_LOSS, r_drop=r_drop, loss_chunks=4
  )
  step = make_train_step(
    objective, optimizer, schedule, seed=5, microbatches=microbatches, ema_decay=ema_decay
  )
  return jax.jit(step, donate_argnums=0), optimizer


def make_params(model):
  return jax.device_get(nn.unbox(jax.jit(lambda: init_params(model, 0, BATCH))()))


def new_state(params, optimizer, step=0, ema=None):
  """Of arrays that may be donated."""
  return jax.tree.map(jnp.array, TrainState(np.int32(step), params, optimizer.init(params), ema))


def metrics_of(step, state):
  state, metrics = step(state, BATCH)
  return state, {name: float(metric.compute()) for name, metric in metrics.items()}


def arrays_equal(one, other):
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


@pytest.fixture(scope="module")
def params():
  return make_params(Bag())


@pytest.fixture(scope="module")
def plain(params):
  """(objective, cross-entropy, gradient) of the mean over all tokens, without any parts."""

  def mean(params):
    model = Bag().bind({"params": params})
    logits = model.logits(model(BATCH))
    sums = cross_entropy(logits, BATCH["targets"], BATCH["weights"], SMOOTHING, Z_LOSS)
    return tuple(x / BATCH["weights"].sum() for x in sums)

  (objective, loss), grads = jax.jit(jax.value_and_grad(mean, has_aux=True))(params)
  return float(objective), float(loss), grads


@pytest.mark.parametrize("microbatches", [1, 2, 4])
def test_microbatches_give_the_gradient_of_the_mean_over_all_tokens(params, plain, microbatches):
  objective, loss, grads = plain
  parts = BATCH["weights"].reshape(-1, microbatches, TARGET_LENGTH).sum(axis=(0, 2))
  assert microbatches == 1 or parts.max() > 1.2 * parts.min()
  step, optimizer = make_step(Bag(), microbatches)
  state, metrics = metrics_of(step, new_state(params, optimizer))
  # One step of SGD with rate 1 is the gradient.
  updates = jax.tree.map(lambda before, after: before - after, params, state.params)
  jax.tree.map(
    lambda update, grad: np.testing.assert_allclose(update, grad, rtol=1e-4, atol=2e-6),
    updates,
    grads,
  )
  norm = np.sqrt(sum(np.square(grad).sum() for grad in jax.tree.leaves(grads)))
  assert metrics == pytest.approx(
    {"loss": loss, "objective": objective, "grad_norm": norm, "learning_rate": 1.0, "skipped": 0},
    rel=1e-5,
  )
  assert state.step == 1


def test_a_copy_head_learns_the_loss_that_is_measured():
  """In chunks along the target and the batch, its gradient is that of the plain loss."""
  model = small_model(copy=True)
  params = make_params(model)

  def mean(params):
    bound = model.bind({"params": params})
    logits = bound.logits(bound(BATCH), BATCH["inputs"])
    loss, nll = cross_entropy(logits, BATCH["targets"], BATCH["weights"], SMOOTHING)
    return loss / BATCH["weights"].sum(), nll

  (_, nll), grads = jax.jit(jax.value_and_grad(mean, has_aux=True))(params)
  step, optimizer = make_step(model, microbatches=2)
  state, _ = step(new_state(params, optimizer), BATCH)
  updates = jax.tree.map(lambda before, after: before - after, params, state.params)
  jax.tree.map(
    lambda update, grad: np.testing.assert_allclose(update, grad, rtol=1e-4, atol=3e-6),
    updates,
    grads,
  )
  assert all(np.abs(grad).max() > 1e-4 for grad in jax.tree.leaves(grads["pointer"]))
  measured = jax.jit(make_loss_step(TokenObjective(model)))(params, BATCH)
  np.testing.assert_allclose(measured.total, nll, rtol=1e-5)


@pytest.fixture(scope="module")
def trained():
  """A Transformer's step, compiled once, its optimizer and its first parameters."""
  model = small_model(dropout=0.1)
  return *make_step(model, 2, "adam", 0.03), make_params(model)


def test_seed_and_step_alone_decide_the_bits(trained):
  step, optimizer, params = trained
  runs = [new_state(params, optimizer) for _ in range(2)]
  for _ in range(3):
    runs = [step(state, BATCH)[0] for state in runs]
    assert arrays_equal(*runs)
  # A state that begins at step 1 meets the dropout of step 1.
  _, first = metrics_of(step, new_state(params, optimizer))
  _, second = metrics_of(step, new_state(params, optimizer, step=1))
  assert first["loss"] != second["loss"]
  assert first["loss"] == pytest.approx(second["loss"], rel=0.2)


def test_training_learns_compiles_once_and_reuses_memory(trained):
  step, optimizer, params = trained
  state, losses = new_state(params, optimizer), []
  for _ in range(30):
    before = state
    state, metrics = metrics_of(step, state)
    losses.append(metrics["loss"])
    assert all(x.is_deleted() for x in jax.tree.leaves(before.params))
  assert state.step == 30
  assert losses[0] == pytest.approx(np.log(TOKENS), rel=0.3)
  assert losses[-1] < losses[0] / 2
  assert step._cache_size() == 1


def test_r_drop_without_dropout_changes_nothing(params, plain):
  objective, loss, _ = plain
  step, optimizer = make_step(Bag(), r_drop=5.0)
  _, metrics = metrics_of(step, new_state(params, optimizer))
  assert (metrics["objective"], metrics["loss"]) == pytest.approx((objective, loss), rel=1e-5)


def test_r_drop_weighs_how_far_two_masks_are_apart(params):
  metrics = {}
  for weight in (1e-9, 1.0, 3.0):
    step, optimizer = make_step(Bag(0.5), r_drop=weight)
    _, metrics[weight] = metrics_of(step, new_state(params, optimizer))
  assert len({f["loss"] for f in metrics.values()}) == 1
  divergence = metrics[1.0]["objective"] - metrics[1e-9]["objective"]
  assert divergence > 0.01
  tripled = metrics[3.0]["objective"] - metrics[1e-9]["objective"]
  assert tripled == pytest.approx(3 * divergence, rel=1e-4)


def test_the_moving_average_follows_its_definition(params):
  step, optimizer = make_step(Bag(), ema_decay=0.25)
  state = new_state(params, optimizer, ema=params)
  expected = params["embedding"].astype(np.float64)
  for number in range(4):
    state, _ = step(state, BATCH)
    decay = min(0.25, (1 + number) / (10 + number))
    expected = decay * expected + (1 - decay) * np.asarray(state.params["embedding"])
  np.testing.assert_allclose(state.ema["embedding"], expected, rtol=1e-5)
  assert np.abs(state.ema["embedding"] - state.params["embedding"]).max() > 1e-4
  assert state.eval_params is state.ema
  assert state.replace(ema=None).eval_params is state.params


def test_microbatches_differ_in_dropout(params):
  # Two equal rows, one for each microbatch: with the same dropout they would have the same loss.
  twice = {name: np.repeat(x[:1], 2, axis=0) for name, x in BATCH.items()}
  step, optimizer = make_step(Bag(0.5), 2)
  losses = []
  for batch in (twice, twice | {"weights": twice["weights"] * np.float32([[1], [0]])}):
    _, metrics = step(new_state(params, optimizer), batch)
    losses.append(float(metrics["loss"].compute()))
  assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def test_the_loss_step_is_plain_cross_entropy_without_dropout(params, plain):
  _, loss, _ = plain
  metric = jax.jit(make_loss_step(TokenObjective(Bag(0.5), label_smoothing=0.5, r_drop=1.0)))(
    params, BATCH
  )
  assert float(metric.count) == BATCH["weights"].sum()
  assert float(metric.compute()) == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("weights", [np.nan, np.inf, 1e38])
def test_what_is_not_finite_is_skipped(params, weights):
  """A NaN, an infinity, and sums that overflow; the step counts, nothing else has changed."""
  step, optimizer = make_step(Bag(), optimizer="adam", rate=0.1, ema_decay=0.9)
  state = new_state(params, optimizer, step=3, ema=params)
  state, metrics = step(state, BATCH)  # moments that are not zero
  assert float(metrics["skipped"].value) == 0
  before = jax.device_get(state)
  bad = {**BATCH, "weights": np.full_like(BATCH["weights"], weights)}
  state, metrics = step(state, bad)
  assert float(metrics["skipped"].value) == 1
  assert int(state.step) == 5
  assert arrays_equal(state.replace(step=before.step), before)
  state, metrics = step(state, BATCH)
  assert float(metrics["skipped"].value) == 0
  assert not arrays_equal(state.params, before.params)


def test_an_update_that_is_not_finite_is_skipped_though_the_gradient_is(params):
  step, optimizer = make_step(Bag(), optimizer=optax.adam(0.1, b2=1.0))  # divides 0 by 0
  state = new_state(params, optimizer)
  before = jax.device_get(state)
  state, metrics = step(state, BATCH)
  assert np.isfinite(metrics["loss"].total) and np.isfinite(metrics["grad_norm"].value)
  assert float(metrics["skipped"].value) == 1
  assert arrays_equal(state.replace(step=before.step), before)

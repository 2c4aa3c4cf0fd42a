"""Objectives: chunks of the loss, and frames against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from support.frame_model import frame_batch, frame_model
from support.small_model import small_batch, small_model

from tfx_jax.training import objective as objectives
from tfx_jax.training.objective import (
  FrameObjective,
  TokenObjective,
  default_chunks,
  last_of_each,
  mask_tokens,
)
from tfx_jax.training.state import TrainState, init_params
from tfx_jax.training.step import make_loss_step, make_train_step

BATCH = frame_batch(6)


@pytest.fixture(scope="module")
def params():
  model = frame_model()
  return jax.device_get(nn.unbox(jax.jit(lambda: init_params(model, 0, BATCH))()))


@pytest.mark.parametrize("tokens", [512, 7])
@pytest.mark.parametrize(
  ("rows", "length"), [(1, 1), (1, 64), (32, 64), (32, 60), (3, 17), (8, 96)]
)
def test_chunks_divide_the_length_and_are_no_smaller_than_asked(rows, length, tokens, monkeypatch):
  monkeypatch.setattr(objectives, "CHUNK_TOKENS", tokens)
  chunks = default_chunks(rows, length)
  assert length % chunks == 0
  assert chunks == 1 or rows * length // chunks >= tokens
  finer = [n for n in range(chunks + 1, length + 1) if length % n == 0]
  assert all(rows * length / n < tokens for n in finer)


def test_the_last_of_each_example_is_where_its_segment_ends():
  segments = np.array([[1, 1, 2, 3, 3, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
  expected = [[0, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]
  assert last_of_each(jnp.asarray(segments)).astype(int).tolist() == expected


def test_masked_are_a_share_of_the_inputs_that_are_targets_too():
  """The first input of each target, a source in front of it and padding are kept."""
  # Two examples; the first three targets have no weight, as a source in a decoder-only model.
  segments = jnp.asarray([[1] * 8 + [2] * 6 + [0] * 2] * 200)
  weights = jnp.asarray([[0] * 3 + [1] * 5 + [1] * 6 + [0] * 2] * 200, jnp.float32)
  inputs = jnp.full(segments.shape, 7)
  batch = {"decoder_inputs": inputs, "targets_segments": segments, "weights": weights}
  found = mask_tokens(batch, 0.3, 3, jax.random.key(0))["decoder_inputs"]
  may_mask = np.array([0] * 4 + [1] * 4 + [0] + [1] * 5 + [0] * 2, bool)
  assert set(np.unique(found)) == {3, 7}
  assert (np.asarray(found)[:, ~may_mask] == 7).all()
  assert (np.asarray(found)[:, may_mask] == 3).mean() == pytest.approx(0.3, abs=0.04)


def test_tokens_are_masked_in_training_alone():
  model, batch = small_model(), small_batch(4)
  params = nn.unbox(jax.jit(lambda: init_params(model, 0, batch))())
  plain, masking = TokenObjective(model), TokenObjective(model, token_dropout=0.9, mask=3)

  def loss(objective, batch, key=None):
    return float(jax.jit(objective)(params, batch, key).objective)

  key = jax.random.key(1)
  masked = mask_tokens(batch, 0.9, 3, jax.random.fold_in(key, 0))
  assert loss(masking, batch) == loss(plain, batch)
  assert loss(masking, batch, key) == pytest.approx(loss(plain, masked), rel=1e-6)
  assert loss(masking, batch, key) != pytest.approx(loss(plain, batch), rel=1e-4)


def test_sums_of_frames_are_those_of_each_real_frame(params):
  """Padding and weights of zero add nothing, whatever is there."""
  model = frame_model()
  bound = model.bind({"params": params})
  frames, stop = jax.device_get(jax.jit(lambda: bound.logits(bound(BATCH)))())
  error = stop_loss = count = 0.0
  for row, step in zip(*np.nonzero(BATCH["weights"]), strict=True):
    segments = [*BATCH["targets_segments"][row], 0]
    error += np.abs(frames[row, step] - BATCH["targets"][row, step]).mean()
    probability = 1 / (1 + np.exp(-np.float64(stop[row, step])))
    is_last = segments[step] != segments[step + 1]
    stop_loss -= np.log(probability if is_last else 1 - probability)
    count += 1
  sums = jax.jit(FrameObjective(model))(params, BATCH)
  assert sums.weight == count
  found = {name: float(total) for name, (total, _) in sums.metrics.items()}
  expected = {"loss": error + stop_loss, "frame_error": error, "stop_loss": stop_loss}
  assert found == pytest.approx(expected, rel=1e-4)
  assert float(sums.objective) == pytest.approx(error + stop_loss, rel=1e-4)


def test_a_step_on_frames_learns_them_in_microbatches_as_well(params):
  model, optimizer = frame_model(), optax.adam(0.01)
  objective = FrameObjective(model)
  loss = jax.jit(make_loss_step(objective))
  before = loss(params, BATCH).compute()

  def train(steps, microbatches):
    step = jax.jit(
      make_train_step(objective, optimizer, lambda step: 0.01, 0, microbatches=microbatches)
    )
    state = TrainState(jnp.int32(0), params, optimizer.init(params))
    for _ in range(steps):
      state, metrics = step(state, BATCH)
    return state, metrics

  (state, metrics), (_, split) = train(40, 1), train(1, 2)
  assert loss(state.params, BATCH).compute() < before / 2
  first = train(1, 1)[1]
  for name in ("loss", "frame_error", "stop_loss", "objective"):
    assert float(split[name].compute()) == pytest.approx(float(first[name].compute()), rel=1e-5)
  assert metrics.keys() >= {"loss", "objective", "grad_norm", "learning_rate", "skipped"}

"""What a training step needs beside its state, by the compiler's own account."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from support.small_model import small_batch, small_decoder

from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.optimizer import make_optimizer, make_schedule
from tfx_jax.training.state import TrainState, init_params
from tfx_jax.training.step import make_train_step

BATCH = small_batch(128)
SCHEDULE = make_schedule("constant", 0.1, 0, 0.0, 100)
OPTIMIZER = make_optimizer(SCHEDULE, "sgd")


@functools.cache
def temporary(chunks=1, remat="none", layers=4, microbatches=1):
  """Bytes of the compiled step's temporary arrays."""
  model = small_decoder(layers, remat=remat, scan=True)
  objective = TokenObjective(model, label_smoothing=0.1, loss_chunks=chunks)
  step = make_train_step(objective, OPTIMIZER, SCHEDULE, 0, microbatches=microbatches)

  def init():
    params = nn.unbox(init_params(model, 0, BATCH))
    return TrainState(jnp.int32(0), params, OPTIMIZER.init(params))

  compiled = jax.jit(step, donate_argnums=0).lower(jax.eval_shape(init), BATCH).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def test_the_loss_in_pieces_never_holds_all_logits():
  whole, pieces = temporary(layers=1, chunks=1), temporary(layers=1, chunks=8)
  logits = 4 * BATCH["targets"].size * 40
  assert whole > logits
  assert pieces < whole - logits


def test_what_is_computed_again_is_not_kept():
  plain, dots, full = (temporary(chunks=8, remat=remat) for remat in ("none", "dots", "full"))
  assert full < dots < plain
  assert full < plain / 2


@pytest.mark.parametrize("microbatches", [4])
def test_microbatches_hold_one_part_at_a_time(microbatches):
  assert temporary(chunks=8, microbatches=microbatches) < temporary(chunks=8) / 2

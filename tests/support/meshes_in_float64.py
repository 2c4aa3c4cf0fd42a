"""Twenty steps of SGD on every mesh, in float64: run as a program of its own, prints JSON.

Parameters, statistics and losses are float32 by name, so the name is given to float64 before
anything reads it. Both kinds of model are trained by one program a mesh, which is what takes time.
"""

import json
import os
import sys

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np

jnp.float32 = jnp.float64

from flax import linen as nn
from support.small_model import small_batch, small_decoder, small_model

from tfx_jax.parallel import Parallel
from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.optimizer import make_optimizer, make_schedule
from tfx_jax.training.state import TrainState, init_params, plan_state
from tfx_jax.training.step import make_train_step

STEPS, ROWS, SEED = 20, 8, 0
SCHEDULE = make_schedule("constant", 0.1, 0, 0.0, STEPS)
OPTIMIZER = make_optimizer(SCHEDULE, "sgd", 1.0, momentum=0.9)
MODELS = {"encoder_decoder": small_model(), "decoder_only": small_decoder()}
BATCHES = [small_batch(ROWS, seed) for seed in range(STEPS)]


def step_of(kinds, parts):
  """One step of several models."""
  settings = {"label_smoothing": 0.1, "z_loss": 0.01, "loss_chunks": 2, "device_parts": parts}
  objectives = {kind: TokenObjective(MODELS[kind], **settings) for kind in kinds}
  steps = {
    kind: make_train_step(objective, OPTIMIZER, SCHEDULE, SEED)
    for kind, objective in objectives.items()
  }

  def step(states, batch):
    return {kind: steps[kind](state, batch)[0] for kind, state in states.items()}

  return step


def trained(step, states, place):
  for batch in BATCHES:
    states = step(states, place(batch))
  return states


def specs(states):
  """[kind, names of its path, axes of its sharding, shape of a shard, shape] of each parameter."""
  found = []
  for kind, state in states.items():
    for path, x in jax.tree_util.tree_leaves_with_path(state.params):
      spec = [*x.sharding.spec, *[None] * (x.ndim - len(x.sharding.spec))]
      shard = x.addressable_shards[0].data.shape
      found.append([kind, [key.key for key in path], spec, shard, x.shape])
  return found


def main(cases):
  first, states = {}, {}
  for kind, model in MODELS.items():
    params = nn.unbox(jax.jit(lambda model=model: init_params(model, SEED, BATCHES[0]))())
    assert all(x.dtype == np.float64 for x in jax.tree.leaves(params))
    states[kind] = TrainState(jnp.int32(0), params, OPTIMIZER.init(params))
    first[kind] = jax.device_get(states[kind])
  expected = jax.device_get(trained(jax.jit(step_of(MODELS, (1, 1))), states, lambda batch: batch))
  moved = [greatest(expected[kind].params, first[kind].params) for kind in MODELS]
  report = {"moved": min(moved), "meshes": []}
  for sizes, kinds in cases:
    parallel = Parallel(**sizes)
    shardings = {
      kind: plan_state(MODELS[kind], OPTIMIZER, SEED, BATCHES[0], parallel)[1] for kind in kinds
    }
    step = parallel.jit(step_of(kinds, parallel.batch_parts), out_shardings=shardings)
    begin = jax.device_put({kind: first[kind] for kind in kinds}, shardings)
    result = trained(step, begin, parallel.place)
    difference = greatest(jax.device_get(result), {kind: expected[kind] for kind in kinds})
    report["meshes"].append({"difference": difference, "specs": specs(result)})
  json.dump(report, sys.stdout)


def greatest(one, other):
  """The greatest difference of two trees."""
  return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), one, other)))


if __name__ == "__main__":
  main(json.loads(sys.argv[1]))

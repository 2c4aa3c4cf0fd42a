"""A state and its shardings, whatever the optimizer keeps of its parameters."""

import contextlib
import functools

import jax
import numpy as np
import pytest
from flax import linen as nn
from support.small_model import small_batch, small_model

from tfx_jax.parallel import Parallel
from tfx_jax.training import state as state_module
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from tfx_jax.training.optimizer import KNOWN, make_optimizer
from tfx_jax.training.state import init_params, plan_state

BATCH = small_batch(1, 0)
PARALLEL = Parallel(fsdp=2, tensor=2, data=2)


def plan(name, groups=()):
  optimizer = make_optimizer(lambda step: 0.1, name, 1.0, groups=groups)
  return plan_state(small_model(), optimizer, 0, BATCH, PARALLEL)


@pytest.mark.parametrize("groups", [(), (("encoder", {"scale": 0}), ("embedding", {"scale": 0.5}))])
@pytest.mark.parametrize("name", KNOWN)
def test_every_leaf_of_the_state_has_a_sharding_and_nothing_else_has(name, groups):
  init, shardings = plan(name, groups)
  state = jax.eval_shape(init.jitted)
  assert jax.tree.structure(state) == jax.tree.structure(shardings)


@pytest.mark.parametrize("name", ["muon", "adafactor", "novograd"])
def test_what_is_kept_in_other_shapes_is_born_saved_and_restored(name, tmp_path):
  """Of some parameters nothing is kept, of others a number, or means over an axis."""
  init, shardings = plan(name, (("encoder", {"scale": 0}),))
  state = init()
  with contextlib.closing(Checkpoints(str(tmp_path))) as checkpoints:
    checkpoints.save(state, {})
    checkpoints.wait()
    restored, _ = checkpoints.restore(0, jax.eval_shape(init.jitted), shardings)
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  placed = jax.tree.map(lambda x: x.sharding, restored)
  assert jax.tree.leaves(placed) == jax.tree.leaves(shardings)


def test_a_plan_and_its_state_trace_the_model_once(monkeypatch):
  model = small_model()
  inits = []
  monkeypatch.setattr(
    state_module, "init_params", lambda *args: inits.append(args) or init_params(*args)
  )
  init, _ = plan_state(model, make_optimizer(lambda step: 0.1, "adamw", 1.0), 0, BATCH, PARALLEL)
  init.jitted.lower()
  assert len(inits) == 1


def test_quick_compilation_changes_values_by_rounding_at_most():
  init, shardings = plan("adamw")
  plain = PARALLEL.jit(
    lambda: nn.unbox(init_params(small_model(), 0, BATCH)), out_shardings=shardings.params
  )
  close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
  jax.tree.map(close, init().params, plain())


def test_moments_are_sharded_like_their_parameters():
  _, shardings = plan("adamw")
  moments = shardings.opt_state[1][0].mu
  assert jax.tree.leaves(moments) == jax.tree.leaves(shardings.params)

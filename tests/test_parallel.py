import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec
from small_model import small_batch, small_model

from tfx_jax.errors import UserError
from tfx_jax.layers import axes
from tfx_jax.parallel import AXES, Parallel
from tfx_jax.training.optimizer import make_optimizer, make_schedule
from tfx_jax.training.state import TrainState, init_params, plan_state
from tfx_jax.training.step import make_train_step

SEED, STEPS, ROWS = 0, 5, 8
MESHES = [(8, 1, 1), (1, 8, 1), (2, 2, 2), (4, 1, 2)]
MODEL = small_model(dropout=0.1, copy=True)
SCHEDULE = make_schedule("constant", 0.01, 0, 0.0, STEPS)
# A large epsilon: else Adam turns the rounding of a gradient that is zero into an update.
OPTIMIZER = make_optimizer(SCHEDULE, "adamw", 1.0, eps=1e-3, weight_decay=0.1)
BATCHES = [small_batch(ROWS, seed) for seed in range(STEPS)]
STEP = make_train_step(
  MODEL,
  OPTIMIZER,
  SCHEDULE,
  SEED,
  label_smoothing=0.1,
  z_loss=0.01,
  r_drop=0.5,
  loss_chunks=2,
  microbatches=1,
  ema_decay=0.9,
)

# Mesh axes of each parameter's axes, by the last two names of its path, without the layers' axis.
HEADS = {"kernel": ("fsdp", "tensor", None), "bias": ("tensor", None)}
NORM = {"scale": ("fsdp",), "bias": ("fsdp",)}
EXPECTED = {
  "query": HEADS,
  "key": HEADS,
  "value": HEADS,
  "out": {"kernel": ("tensor", None, "fsdp"), "bias": ("fsdp",)},
  "up": {"kernel": ("fsdp", "tensor"), "bias": ("tensor",)},
  "down": {"kernel": ("tensor", "fsdp"), "bias": ("fsdp",)},
  "norms_0": NORM,
  "norm": NORM,
  "target_embed": {"embedding": ("tensor", "fsdp")},
  "score": {"kernel": ("fsdp", None)},
  "source_gate": {"kernel": ("fsdp", None)},
  "target_gate": {"kernel": ("fsdp", None), "bias": (None,)},
}


def run(step, state, place):
  losses = []
  for batch in BATCHES:
    state, figures = step(state, place(batch))
    losses.append(float(figures["loss"].compute()))
  return jax.device_get(state), losses


@functools.cache
def on_one_device():
  """The first state and, after the steps, state and losses; without a mesh."""
  params = nn.unbox(jax.jit(lambda: init_params(MODEL, SEED, BATCHES[0]))())
  state = TrainState(jnp.int32(0), params, OPTIMIZER.init(params), params)
  return jax.device_get(state), *run(jax.jit(STEP), state, lambda batch: batch)


def all_close(one, other):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), one, other)


def assert_sharded(path, leaf, mesh):
  names = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
  spec = (None,) * ("stacked" in names) + EXPECTED[names[-2]][names[-1]]
  assert leaf.ndim == len(spec)
  sizes = [mesh.shape[axis] if axis else 1 for axis in spec]
  assert leaf.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(*spec)), leaf.ndim), path
  shard = tuple(size // parts for size, parts in zip(leaf.shape, sizes, strict=True))
  assert leaf.addressable_shards[0].data.shape == shard


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_a_mesh_changes_nothing_but_where_things_are(sizes):
  parallel = Parallel(*sizes)
  init, shardings = plan_state(MODEL, OPTIMIZER, SEED, BATCHES[0], parallel, ema=True)
  first, expected, expected_losses = on_one_device()
  if sizes == (2, 2, 2):
    state = init()
    all_close(first, jax.device_get(state))
  else:
    state = jax.device_put(first, shardings)
  step = parallel.jit(STEP, out_shardings=(shardings, None))
  with parallel.context():
    assert "sharding_constraint" in step.jitted.lower(state, parallel.place(BATCHES[0])).as_text()

  trained = []

  def kept(state, batch):
    trained[:] = [step(state, batch)]
    return trained[0]

  result, losses = run(kept, state, parallel.place)
  np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
  all_close(result, expected)
  assert step.jitted._cache_size() == 1
  moments = trained[0][0].opt_state[1][0]
  for made in (state.params, trained[0][0].params, moments.mu, moments.nu):
    jax.tree.map_with_path(lambda path, x: assert_sharded(path, x, parallel.mesh), made)


def test_without_a_mesh_there_are_no_constraints():
  # So what is looked for above is not in any program.
  assert "sharding_constraint" not in jax.jit(STEP).lower(on_one_device()[0], BATCHES[0]).as_text()


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_batches_are_split_by_row(sizes):
  parallel = Parallel(*sizes)
  batch = parallel.place(BATCHES[0])
  assert parallel.batch_shards == sizes[0] * sizes[1]
  for name, array in batch.items():
    assert array.addressable_shards[0].data.shape[0] == ROWS // parallel.batch_shards
    np.testing.assert_array_equal(array, BATCHES[0][name])


@pytest.mark.parametrize(
  ("sizes", "full"),
  [({}, (8, 1, 1)), ({"tensor": 2}, (4, 1, 2)), ({"data": 1, "fsdp": -1}, (1, 8, 1))],
)
def test_one_size_may_be_what_is_left(sizes, full):
  assert Parallel(**sizes).mesh.shape == dict(zip(AXES, full, strict=True))


@pytest.mark.parametrize(
  "sizes", [(3, 1, 1), (-1, 3, 1), (-1, -1, 1), (-1, 0, 1), (0, 1, 1), (-1, 16, 1), (-2, -2, 2)]
)
def test_sizes_that_do_not_fit_the_devices_are_refused(sizes):
  asked = ", ".join(f"mesh.{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
  with pytest.raises(UserError, match=rf"^{asked}: .* 8 devices"):
    Parallel(*sizes)


def test_a_parameter_with_an_unknown_axis_is_refused():
  def boxed(*names):
    return {"kernel": nn.LogicallyPartitioned(jax.ShapeDtypeStruct((8, 8), jnp.float32), names)}

  parallel = Parallel()
  assert parallel.shardings(boxed("embed", None))["kernel"].spec == PartitionSpec("fsdp", None)
  with pytest.raises(ValueError, match=r"no sharding rule.*wings"):
    parallel.shardings(boxed("embed", "wings"))


def test_constraints_hold_under_a_mesh_and_unknown_names_raise():
  x = jnp.zeros((8, 4))
  parallel = Parallel(fsdp=2, tensor=2)

  def constrain(*names):
    return parallel.jit(lambda x: axes.constrain(x * 2, *names))(x)

  by_row = constrain(axes.BATCH, axes.ACT_EMBED).sharding
  assert by_row.is_equivalent_to(parallel.by_row, 2)
  heads = constrain(None, axes.ACT_HEADS).sharding
  assert heads.is_equivalent_to(NamedSharding(parallel.mesh, PartitionSpec(None, "tensor")), 2)
  with pytest.raises(ValueError, match="wings"):
    constrain(axes.BATCH, "wings")
  assert axes.constrain(x, axes.BATCH, axes.ACT_EMBED) is x


def test_rows_stay_split_and_other_axes_as_they_are():
  parallel = Parallel(2, 2, 2)
  heads = NamedSharding(parallel.mesh, PartitionSpec(None, "tensor"))
  tree = {"a": jax.device_put(jnp.ones((8, 4, 3)), heads), "b": jnp.ones(8), "c": jnp.ones(())}
  found = parallel.jit(parallel.split_rows)(tree)
  rows = ("data", "fsdp")
  for name, spec in (("a", (rows, "tensor")), ("b", (rows,)), ("c", ())):
    expected = NamedSharding(parallel.mesh, PartitionSpec(*spec))
    assert found[name].sharding.is_equivalent_to(expected, tree[name].ndim)
    np.testing.assert_array_equal(found[name], tree[name])

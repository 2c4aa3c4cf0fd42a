import functools
import json
import os
import re
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec
from support.small_model import TARGET_LENGTH, VOCABULARY, small_batch, small_decoder, small_model

from tfx_jax.errors import UserError
from tfx_jax.layers import axes
from tfx_jax.losses.cross_entropy import cross_entropy, split
from tfx_jax.parallel import AXES, Parallel, arrange
from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.optimizer import make_optimizer, make_schedule
from tfx_jax.training.state import TrainState, init_params, plan_state
from tfx_jax.training.step import make_train_step

SEED, STEPS, ROWS = 0, 5, 8
KEYS = ("data", "fsdp", "tensor", "sequence", "slices")
MESHES = [(8, 1, 1, 1, 1), (1, 8, 1, 1, 1), (2, 1, 2, 2, 1), (1, 2, 2, 1, 2)]
MIXED = {"data": 1, "fsdp": 2, "tensor": 2, "sequence": 2}
BOTH = ["encoder_decoder", "decoder_only"]
MODEL = small_model(dropout=0.1, copy=True)
SCHEDULE = make_schedule("constant", 0.01, 0, 0.0, STEPS)
# A large epsilon: else Adam turns the rounding of a gradient that is zero into an update.
OPTIMIZER = make_optimizer(SCHEDULE, "adamw", 1.0, eps=1e-3, weight_decay=0.1)
BATCHES = [small_batch(ROWS, seed) for seed in range(STEPS)]
OBJECTIVE = TokenObjective(MODEL, label_smoothing=0.1, z_loss=0.01, r_drop=0.5, loss_chunks=2)
STEP = make_train_step(OBJECTIVE, OPTIMIZER, SCHEDULE, SEED, microbatches=2, ema_decay=0.9)

# Mesh axes of each parameter's axes, by the last two names of its path, without the layers' axis.
HEADS = {"kernel": ("fsdp", "tensor", None), "bias": ("tensor", None)}
NORM = {"scale": ("fsdp",), "bias": ("fsdp",)}
EXPECTED = {
  "query": HEADS,
  "key": HEADS,
  "value": HEADS,
  "out": {"kernel": ("tensor", None, "fsdp"), "bias": ("fsdp",)},
  "up": {"kernel": ("fsdp", "tensor"), "bias": ("tensor",)},
  "gate": {"kernel": ("fsdp", "tensor")},
  "down": {"kernel": ("tensor", "fsdp"), "bias": ("fsdp",)},
  "norms_0": NORM,
  "norms_1": NORM,
  "norm": NORM,
  "target_embed": {"embedding": ("tensor", "fsdp")},
  "token_embed": {"embedding": ("tensor", "fsdp")},
  "output": {"kernel": ("tensor", "fsdp"), "bias": ("tensor",)},
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


def test_a_mesh_only_changes_the_placement():
  """With dropout, which hangs on no mesh, and an optimizer that keeps two moments."""
  parallel = Parallel(**MIXED)
  init, shardings = plan_state(MODEL, OPTIMIZER, SEED, BATCHES[0], parallel, ema=True)
  first, expected, expected_losses = on_one_device()
  state = init()
  all_close(first, jax.device_get(state))
  step = parallel.jit(STEP, out_shardings=(shardings, None))
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


def in_float64(cases):
  """What the program of that name reports of meshes and kinds of models."""
  folder = os.path.dirname(__file__)
  program = os.path.join(folder, "support", "meshes_in_float64.py")
  path = os.pathsep.join([os.path.dirname(folder), folder])
  done = subprocess.run(
    [sys.executable, program, json.dumps(cases)],
    env=os.environ | {"PYTHONPATH": path},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def check_in_float64(cases):
  report = in_float64(cases)
  assert report["moved"] > 0.1
  for (sizes, kinds), found in zip(cases, report["meshes"], strict=True):
    assert found["difference"] < 1e-9, sizes
    assert {kind for kind, *_ in found["specs"]} == set(kinds)
    for _, names, spec, shard, shape in found["specs"]:
      expected = (None,) * ("stacked" in names) + EXPECTED[names[-2]][names[-1]]
      assert tuple(spec) == expected, names
      divided = [sizes.get(axis, 1) if axis else 1 for axis in expected]
      assert shard == [size // parts for size, parts in zip(shape, divided, strict=True)]


def test_twenty_steps_of_sgd_are_those_of_one_device():
  check_in_float64(
    [
      ({"data": 8}, BOTH[1:]),
      ({"data": 1, "fsdp": 8}, BOTH[1:]),
      ({"data": 4, "tensor": 2}, BOTH[:1]),
      ({"data": 2, "sequence": 4}, BOTH[:1]),
      (MIXED, BOTH),
    ]
  )


@pytest.mark.slow
def test_twenty_steps_of_both_models_on_all_meshes_are_those_of_one_device():
  meshes = [
    {"data": 8},
    {"data": 1, "fsdp": 8},
    {"data": 4, "tensor": 2},
    {"data": 2, "sequence": 4},
    MIXED,
    {"data": 2, "slices": 2, "tensor": 2},
    {"data": 1, "slices": 2, "fsdp": 2, "sequence": 2},
  ]
  check_in_float64([(sizes, BOTH) for sizes in meshes])


@pytest.mark.parametrize("model", [MODEL, small_decoder()], ids=BOTH)
def test_every_constraint_is_in_the_lowered_program(model, monkeypatch):
  parallel, calls = Parallel(**MIXED), []
  constrain = axes.constrain
  monkeypatch.setattr(
    axes, "constrain", lambda x, *names: calls.append(names) or constrain(x, *names)
  )

  def forward(params, batch):
    bound = model.bind({"params": params})
    return bound.logits(bound(batch), batch.get("inputs"))

  params = nn.unbox(jax.eval_shape(lambda: init_params(model, SEED, BATCHES[0])))
  calls.clear()
  with parallel.context():
    text = jax.jit(forward).lower(params, BATCHES[0]).as_text()
  assert len(calls) >= 10
  gathered = [names for names in calls if axes.KEY_LENGTH in names]
  # Keys and values of each attention, and what a copy head points at.
  assert len(gathered) == (7 if model is MODEL else 2)
  assert text.count("sharding_constraint") == len(calls)


def test_chunks_of_the_loss_are_sharded_like_the_rows():
  parallel = Parallel(sequence=4)
  sharding = NamedSharding(parallel.mesh, PartitionSpec("data", "sequence"))
  x = jax.ShapeDtypeStruct((ROWS, TARGET_LENGTH, 3), jnp.float32, sharding=sharding)

  def sums(x):
    return jax.lax.map(lambda piece: jnp.tanh(piece).sum(axis=(0, 1)), split(x, 4))

  text = jax.jit(sums).lower(x).compile().as_text()
  assert "all-reduce(" in text and "all-gather(" not in text


def test_no_logits_are_gathered_if_the_vocabulary_is_split():
  parallel, model = Parallel(data=4, tensor=2), small_model()
  params = nn.unbox(jax.eval_shape(lambda: init_params(model, SEED, BATCHES[0])))
  batch = parallel.place(BATCHES[0])

  def gathered(nll):
    def loss(params, batch):
      bound = model.bind({"params": params})
      logits = bound.logits(bound(batch))
      return nll(logits, batch["targets"], batch["weights"])

    placed = jax.tree.map(
      lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
      params,
      plan_state(model, OPTIMIZER, SEED, BATCHES[0], parallel)[1].params,
    )
    with parallel.context():
      text = jax.jit(jax.grad(loss)).lower(placed, batch).compile().as_text()
    shapes = re.findall(r"= \w+\[([\d,]*)\]\S* all-gather\(", text)
    return [shape for shape in shapes if shape.endswith(f"{TARGET_LENGTH},{VOCABULARY}")]

  def by_gather(logits, targets, weights):
    log_probs = jax.nn.log_softmax(jax.lax.with_sharding_constraint(logits, parallel.by_row))
    return -(jnp.take_along_axis(log_probs, targets[..., None], -1)[..., 0] * weights).sum()

  assert not gathered(lambda *args: cross_entropy(*args, label_smoothing=0.1, z_loss=0.01)[0])
  assert gathered(by_gather)  # so that is how it would look


def test_without_a_mesh_there_are_no_constraints():
  # So what is looked for above is not in any program.
  assert "sharding_constraint" not in jax.jit(STEP).lower(on_one_device()[0], BATCHES[0]).as_text()


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_batches_are_split_by_row(sizes):
  parallel = Parallel(*sizes)
  batch = parallel.place(BATCHES[0])
  assert parallel.batch_shards == sizes[0] * sizes[1] * sizes[4]
  assert parallel.local_shards == list(range(parallel.batch_shards))
  for name, array in batch.items():
    assert array.addressable_shards[0].data.shape[0] == ROWS // parallel.batch_shards
    np.testing.assert_array_equal(array, BATCHES[0][name])


@pytest.mark.parametrize(
  ("sizes", "full"),
  [
    ({}, (8, 1, 1, 1, 1)),
    ({"tensor": 2}, (4, 1, 2, 1, 1)),
    ({"data": 1, "fsdp": -1}, (1, 8, 1, 1, 1)),
    ({"slices": 2, "sequence": 2}, (2, 1, 1, 2, 2)),
  ],
)
def test_one_size_may_be_inferred(sizes, full):
  mesh = Parallel(**sizes).mesh
  assert mesh.axis_names == AXES
  assert mesh.shape == dict(zip(KEYS, full, strict=True))


@pytest.mark.parametrize(
  "sizes",
  [(3,), (-1, 3), (-1, -1), (-1, 0), (0,), (-1, 16), (-2, -2, 2), (-1, 1, 1, 3), (8, 1, 1, 1, 2)],
)
def test_sizes_that_do_not_fit_the_devices_are_refused(sizes):
  every = [*sizes, *[1] * (len(KEYS) - len(sizes))]
  asked = ", ".join(f"mesh.{key}={size}" for key, size in zip(KEYS, every, strict=True))
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
  parallel = Parallel(sequence=4)
  for name, spec in ((axes.LENGTH, "sequence"), (axes.KEY_LENGTH, None)):
    found = constrain(None, name).sharding
    assert found.is_equivalent_to(NamedSharding(parallel.mesh, PartitionSpec(None, spec)), 2), name
  with pytest.raises(ValueError, match="wings"):
    constrain(axes.BATCH, "wings")
  assert axes.constrain(x, axes.BATCH, axes.ACT_EMBED) is x


def test_rows_stay_split_and_other_axes_as_they_are():
  parallel = Parallel(2, 2, 2)
  heads = NamedSharding(parallel.mesh, PartitionSpec(None, "tensor"))
  tree = {"a": jax.device_put(jnp.ones((8, 4, 3)), heads), "b": jnp.ones(8), "c": jnp.ones(())}
  found = parallel.jit(parallel.split_rows)(tree)
  rows = ("slices", "data", "fsdp")
  for name, spec in (("a", (rows, "tensor")), ("b", (rows,)), ("c", ())):
    expected = NamedSharding(parallel.mesh, PartitionSpec(*spec))
    assert found[name].sharding.is_equivalent_to(expected, tree[name].ndim)
    np.testing.assert_array_equal(found[name], tree[name])


def devices(platform="gpu", slices=1, processes=1):
  """Eight of them as JAX lists them, in no order."""
  numbers = [5, 2, 7, 0, 3, 6, 1, 4]
  return [
    types.SimpleNamespace(
      id=n,
      platform=platform,
      device_kind="fake",
      slice_index=n * slices // 8,
      process_index=n * processes // 8,
    )
    for n in numbers
  ]


@pytest.mark.parametrize(("slices", "processes"), [(2, 4), (1, 2)])
def test_a_slice_is_a_group_of_devices_on_a_fast_network(slices, processes):
  found = arrange(devices("gpu", slices, processes), (2, 1, 4, 1, 1))
  groups = [{device.id // 4 for device in part.flat} for part in found]
  assert groups == [{0}, {1}]


def test_tpu_devices_say_how_many_slices_they_are_of():
  with pytest.raises(UserError, match=r"^mesh\.slices=1, but the TPU has 2 slices$"):
    arrange(devices("tpu", 2), (1, 8, 1, 1, 1))


def test_a_batch_that_all_processes_have_is_placed_like_shares_of_it(monkeypatch):
  parallel = Parallel(2, 2, 2)
  for placed in (parallel.place(BATCHES[0]), parallel.place_whole(BATCHES[0])):
    fetched = parallel.fetch(placed)
    for name, array in BATCHES[0].items():
      np.testing.assert_array_equal(fetched[name], array)

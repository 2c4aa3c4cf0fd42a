import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from tfx_jax.errors import UserError
from tfx_jax.training.optimizer import KNOWN, decays, make_optimizer, make_schedule, matrix_axes

PEAK, WARMUP, STEPS, SHARE = 0.5, 10, 50, 0.1
# All that the config's section holds.
SETTINGS = {"b1": 0.9, "b2": 0.98, "eps": 1e-6, "momentum": 0.8, "weight_decay": 0.1}


def rates(schedule, steps, warmup=WARMUP, share=SHARE):
  rate = make_schedule(schedule, PEAK, warmup, share, STEPS)
  return np.array([rate(step) for step in steps])


@pytest.mark.parametrize("schedule", ["rsqrt", "cosine", "linear", "constant"])
def test_warm_up_is_a_line_to_the_peak(schedule):
  np.testing.assert_allclose(rates(schedule, [0, 1, 8, 9]), [0.05, 0.1, 0.45, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
  ("schedule", "formula"),
  [
    ("rsqrt", lambda n: PEAK * math.sqrt(WARMUP / n)),
    (
      "cosine",
      lambda n: PEAK * (SHARE + (1 - SHARE) * (1 + math.cos(math.pi * (n - 10) / 40)) / 2),
    ),
    ("linear", lambda n: PEAK * (1 - (1 - SHARE) * (n - 10) / 40)),
    ("constant", lambda n: PEAK),
  ],
)
def test_after_warm_up_the_formula_holds(schedule, formula):
  steps = [9, 10, 17, 30, 48, 49]
  expected = [formula(step + 1) for step in steps]
  np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-5)


@pytest.mark.parametrize(("schedule"), ["cosine", "linear"])
def test_the_last_step_and_those_after_it_have_the_final_share(schedule):
  np.testing.assert_allclose(rates(schedule, [49, 50, 500]), PEAK * SHARE, rtol=1e-5)
  np.testing.assert_allclose(rates(schedule, [49], share=0.0), 0, atol=1e-7)


@pytest.mark.parametrize("schedule", ["rsqrt", "cosine", "linear", "constant"])
def test_without_warm_up_the_first_step_has_the_peak(schedule):
  np.testing.assert_allclose(rates(schedule, [0], warmup=0), PEAK, rtol=1e-6)


def test_an_unknown_schedule_names_the_nearest():
  with pytest.raises(UserError, match=r"optimizer.schedule='cosin', did you mean 'cosine'\?"):
    make_schedule("cosin", PEAK, WARMUP, SHARE, STEPS)


def make_params():
  rng = np.random.default_rng(0)
  shapes = {
    "mlp": {"kernel": (3, 4), "bias": (4,)},
    "norm": {"scale": (3,), "bias": (3,)},
    "embed": {"embedding": (5, 3)},
  }
  return {
    layer: {name: rng.normal(size=shape).astype(np.float32) for name, shape in leaves.items()}
    for layer, leaves in shapes.items()
  }


def train(optimizer, params, grads):
  state = optimizer.init(params)
  for grad in grads:
    updates, state = optimizer.update(grad, state, params)
    params = optax.apply_updates(params, updates)
  return params


def adamw(param, grads, rate, decay):
  """Loshchilov & Hutter (2019), algorithm 2, in float64."""
  b1, b2, eps = (SETTINGS[name] for name in ("b1", "b2", "eps"))
  param, m, v = param.astype(np.float64), 0.0, 0.0
  for t, grad in enumerate(grads, 1):
    m, v = b1 * m + (1 - b1) * grad, b2 * v + (1 - b2) * grad**2
    step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    param = param - float(rate(t - 1)) * (step + decay * param)
  return param


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_equals_its_definition(name):
  rate = make_schedule("rsqrt", PEAK, 2, 0.0, STEPS)
  params = make_params()
  rng = np.random.default_rng(1)
  grads = [
    {
      layer: {key: rng.normal(size=x.shape).astype(np.float32) for key, x in leaves.items()}
      for layer, leaves in params.items()
    }
    for _ in range(3)
  ]
  trained = train(make_optimizer(rate, name, 0.0, **SETTINGS), params, grads)
  for layer, leaves in params.items():
    for key, param in leaves.items():
      decay = 0.1 if name == "adamw" and key in ("kernel", "embedding") else 0.0
      expected = adamw(param, [grad[layer][key] for grad in grads], rate, decay)
      np.testing.assert_allclose(trained[layer][key], expected, rtol=1e-4, atol=1e-6)


def test_only_matrices_decay_boxed_or_not():
  expected = {
    "mlp": {"kernel": True, "bias": False},
    "norm": {"scale": False, "bias": False},
    "embed": {"embedding": True},
  }
  params = make_params()
  assert decays(params) == expected
  boxed = {
    layer: {key: nn.Partitioned(x, (None,) * x.ndim) for key, x in leaves.items()}
    for layer, leaves in params.items()
  }
  assert nn.unbox(decays(boxed)) == expected


def test_sgd_has_momentum():
  params = {"kernel": np.zeros(2, np.float32)}
  grads = [{"kernel": np.array(g, np.float32)} for g in ([1, 0], [0, 1], [1, 1])]
  optimizer = make_optimizer(lambda step: 0.5, "sgd", 0.0, **SETTINGS)
  # The three steps have [1, 0], [0.8, 1] and [0.64 + 1, 0.8 + 1].
  np.testing.assert_allclose(
    train(optimizer, params, grads)["kernel"], [-0.5 * 3.44, -0.5 * 2.8], rtol=1e-6
  )


@pytest.mark.parametrize(
  ("clip_norm", "factor"), [(0.0, 1.0), (1.0, 0.2), (5.0, 1.0), (10.0, 1.0), (2.5, 0.5)]
)
def test_the_gradient_is_clipped_by_its_global_norm(clip_norm, factor):
  params = {"a": {"kernel": jnp.zeros(1)}, "b": {"bias": jnp.zeros(1)}}
  grad = {"a": {"kernel": jnp.full(1, 3.0)}, "b": {"bias": jnp.full(1, -4.0)}}
  optimizer = make_optimizer(lambda step: 1.0, "sgd", clip_norm)
  trained = train(optimizer, params, [grad])
  np.testing.assert_allclose(trained["a"]["kernel"], -3 * factor, rtol=1e-6)
  np.testing.assert_allclose(trained["b"]["bias"], 4 * factor, rtol=1e-6)


@pytest.mark.parametrize("name", KNOWN)
def test_known_optimizers_take_the_settings_they_have(name):
  params = make_params()
  optimizer = make_optimizer(lambda step: 0.1, name, 1.0, **SETTINGS)
  trained = train(optimizer, params, [params])
  assert all(
    np.isfinite(x).all() and (x != params[layer][key]).all()
    for layer, leaves in trained.items()
    for key, x in leaves.items()
  )


@pytest.mark.parametrize(
  ("name", "hint"),
  [
    ("admw", "did you mean 'adamw'"),
    ("chain", "known: adam"),
    ("tree", "known: adam"),
    ("lbfgs", "known: adam"),
  ],
)
def test_what_is_no_optimizer_is_refused(name, hint):
  with pytest.raises(UserError, match=f"optimizer.name='{name}'.*{hint}"):
    make_optimizer(lambda step: 0.1, name, 1.0)


def test_a_group_has_arguments_of_its_own():
  params = make_params()
  ones = jax.tree.map(np.ones_like, params)
  groups = [
    ("embed", {"weight_decay": 0.5}),
    ("bias", {"scale": 0}),
    ("mlp|embed", {"scale": 0.1}),
  ]
  optimizer = make_optimizer(lambda step: 1.0, "adamw", groups=groups, **SETTINGS)
  trained = train(optimizer, params, [ones])

  # The first step of Adam is the sign of the gradient, here 1; only matrices decay.
  for layer, name, scale, decay in (
    ("embed", "embedding", 1.0, 0.5),
    ("mlp", "kernel", 0.1, 0.1),
    ("norm", "scale", 1.0, 0.0),
    ("mlp", "bias", 0.0, 0.0),
    ("norm", "bias", 0.0, 0.0),
  ):
    before = params[layer][name]
    expected = before - scale * (1 + decay * before)
    np.testing.assert_allclose(trained[layer][name], expected, rtol=1e-4, atol=1e-5)


def test_groups_follow_paths_of_boxed_parameters_too():
  boxed = {"mlp": {"kernel": nn.Partitioned(jnp.ones((3, 4)), (None, None))}}
  optimizer = make_optimizer(lambda step: 1.0, "sgd", groups=[("mlp/kernel", {"scale": 0})])
  updates, _ = optimizer.update(boxed, optimizer.init(boxed), boxed)
  assert not np.any(nn.unbox(updates)["mlp"]["kernel"])


@pytest.mark.parametrize(
  ("settings", "told"),
  [
    ({"groups": [("a", {"b": 1})]}, "optimizer.groups: adamw takes no 'b'"),
    ({"groups": [("a", {"weight_decy": 1})]}, "no 'weight_decy', did you mean 'weight_decay'"),
    ({"groups": [("embed", {"scale": "x"})]}, "optimizer.groups: scale='x' is str: use a number"),
    ({"groups": [("(", {"scale": 1})]}, r"optimizer.groups: '\(' is no regular expression"),
    ({"groups": ["a scale=1"]}, "optimizer.groups: 'a scale=1' is not a pair"),
    ({"groups": [5]}, "optimizer.groups: 5 is not a pair"),
    ({"groups": [("a", "scale=1")]}, "optimizer.groups: 'scale=1' is not a dict"),
    ({"settings": {"beta": 1}}, "optimizer.settings: adamw takes no 'beta'"),
    ({"settings": ("b1=0.5",)}, "optimizer.settings: .* is not a dict"),
  ],
)
def test_settings_that_it_does_not_take_are_refused(settings, told):
  with pytest.raises(UserError, match=told):
    make_optimizer(lambda step: 0.1, "adamw", **settings)


def make_layers():
  """Two layers of attention and a feed-forward product, as a stack holds them."""
  rng = np.random.default_rng(2)
  shapes = {
    "query": {"kernel": (2, 6, 2, 3), "bias": (2, 2, 3)},
    "out": {"kernel": (2, 2, 3, 6), "bias": (2, 6)},
    "up": {"kernel": (2, 6, 8), "bias": (2, 8)},
  }
  stacked = {
    layer: {name: rng.normal(size=shape).astype(np.float32) for name, shape in leaves.items()}
    for layer, leaves in shapes.items()
  }
  return {"layers": {"stacked": stacked}, "embed": {"embedding": rng.normal(size=(9, 6))}}


def test_muon_takes_each_kernel_of_a_layer_as_one_matrix():
  params = make_layers()
  axes = matrix_axes(params)
  stacked = axes["layers"]["stacked"]
  assert stacked["query"]["kernel"] == ((1,), (2, 3))
  assert stacked["out"]["kernel"] == ((1, 2), (3,))
  assert stacked["up"]["kernel"] == ((1,), (2,))
  assert stacked["up"]["bias"] is axes["embed"]["embedding"] is None
  optimizer = make_optimizer(lambda step: 1.0, "muon", settings={"ns_steps": 30, "beta": 0})
  updates, _ = optimizer.update(params, optimizer.init(params), params)
  for name, shape in (("query", (6, 6)), ("out", (6, 6)), ("up", (6, 8))):
    for layer in updates["layers"]["stacked"][name]["kernel"]:
      # Newton and Schulz's iteration leaves singular values near 1 (Jordan et al. 2024).
      values = np.linalg.svd(np.reshape(layer, shape), compute_uv=False)
      values /= (shape[1] / shape[0]) ** 0.5
      assert values.min() > 0.6 and values.max() < 1.3

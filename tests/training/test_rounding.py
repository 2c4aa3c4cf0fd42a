import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.small_model import small_batch, small_decoder

from tfx_jax.parallel import Parallel
from tfx_jax.training.optimizer import KNOWN, STATE_DTYPES, make_optimizer, make_schedule
from tfx_jax.training.rounding import in_bfloat16, stochastic_round
from tfx_jax.training.state import plan_state

RATE = make_schedule("constant", 0.1, 0, 0.0, 100)
USUAL = {"b1": 0.9, "b2": 0.999, "momentum": 0.9}
PARAMS = {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)}


def test_it_is_one_of_the_neighbours_and_right_in_the_mean():
  x = np.random.default_rng(0).normal(size=64).astype(np.float32)
  keys = jax.random.split(jax.random.key(0), 2000)
  drawn = np.asarray(jax.vmap(lambda key: stochastic_round(x, key))(keys), np.float32)
  truncated = (x.view(np.uint32) & 0xFFFF0000).view(np.float32)
  further = (truncated.view(np.uint32) + 0x10000).view(np.float32)
  assert np.all((drawn == truncated) | (drawn == further))
  assert np.all((drawn == truncated).any(axis=0) & (drawn == further).any(axis=0))
  step = np.abs(further - truncated)
  assert np.all(np.abs(drawn.mean(axis=0) - x) < 5 * step / np.sqrt(2000) / 2)


def test_what_bfloat16_holds_stays_what_it_is():
  kept = jnp.array([0.0, -0.0, 1.0, -2.5, jnp.inf, -jnp.inf, jnp.nan], jnp.float32)
  rounded = stochastic_round(kept, jax.random.key(1)).astype(jnp.float32)
  np.testing.assert_array_equal(rounded, kept)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "adafactor", "muon", "novograd"])
def test_any_optimizer_keeps_half_and_learns_as_before(name):
  """A quadratic: where the minimum is found, and what the state takes."""
  target = jax.tree.map(lambda x: jnp.linspace(-1, 1, x.size).reshape(x.shape), PARAMS)
  found, sizes = [], []
  for dtype in ("float32", "bfloat16"):
    optimizer = make_optimizer(RATE, name, 1.0, dtype, **USUAL)

    def step(carry, _, optimizer=optimizer):
      params, state = carry
      grads = jax.tree.map(jnp.subtract, params, target)
      updates, state = optimizer.update(grads, state, params)
      return (optax.apply_updates(params, updates), state), None

    state = optimizer.init(PARAMS)
    sizes.append(sum(x.nbytes for x in jax.tree.leaves(state) if x.ndim))
    (params, after), _ = jax.jit(lambda p, s, step=step: jax.lax.scan(step, (p, s), length=40))(
      PARAMS, state
    )
    assert [x.dtype for x in jax.tree.leaves(after)] == [x.dtype for x in jax.tree.leaves(state)]
    found.append(params)
  assert sizes[1] == sizes[0] / 2
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.25), *found)


def test_an_average_that_is_fed_nothing_decays():
  """By a thousandth each time: to the nearest it would stand still."""
  optimizer = in_bfloat16(optax.scale_by_adam(b2=0.999))
  state = optimizer.init(PARAMS)
  update = jax.jit(lambda grads, state: optimizer.update(grads, state)[1])
  state = update(PARAMS, state)
  begun = np.asarray(state.inner.nu["kernel"], np.float32)
  nothing = jax.tree.map(jnp.zeros_like, PARAMS)
  for _ in range(500):
    state = update(nothing, state)
  share = np.asarray(state.inner.nu["kernel"], np.float32) / begun
  assert share.mean() == pytest.approx(0.999**500, rel=0.1)
  assert jnp.bfloat16(0.999 * begun[0, 0]) == jnp.bfloat16(begun[0, 0])


@pytest.mark.parametrize("dtype", STATE_DTYPES)
@pytest.mark.parametrize("name", KNOWN)
def test_the_state_of_any_optimizer_is_sharded_as_the_parameters_are(name, dtype):
  """As far as it has their shapes; and a tree of shardings fits it, leaf by leaf."""
  parallel = Parallel(data=1, fsdp=4, tensor=2)
  optimizer = make_optimizer(RATE, name, 1.0, dtype, **USUAL)
  init, shardings = plan_state(small_decoder(), optimizer, 0, small_batch(8), parallel)
  abstract = jax.eval_shape(init.jitted)
  of_shape = {}
  for x, s in zip(*map(jax.tree.leaves, (abstract.params, shardings.params)), strict=True):
    of_shape.setdefault(x.shape, set()).add(s)

  def check(x, sharding):
    assert len(sharding.spec) <= x.ndim
    if x.shape in of_shape and x.ndim > 1:
      assert sharding in of_shape[x.shape]
    return x.size

  sizes = jax.tree.map(check, abstract.opt_state, shardings.opt_state)
  assert sum(jax.tree.leaves(sizes)) > 0

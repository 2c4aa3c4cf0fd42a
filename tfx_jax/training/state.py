"""The training state: parameters, optimizer state and step, created sharded."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.extend.core
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from tfx_jax.common.tree import Tree
from tfx_jax.models.model import Model, Params
from tfx_jax.parallel import Parallel


@struct.dataclass
class TrainState:
  """Training state after `step` updates; `ema` is a moving average of `params`, or None."""

  step: jax.Array
  params: Params
  opt_state: optax.OptState
  ema: Params | None = None

  @property
  def eval_params(self) -> Params:
    """Parameters to validate: the moving average if there is one."""
    return self.params if self.ema is None else self.ema


def begin_with(state: TrainState, params: Params, shardings: TrainState) -> TrainState:
  """Returns a new state that starts from given parameters of the model."""
  if "adapters" in state.params:
    params = {**state.params, "base": params}
  params = jax.device_put(params, shardings.params)
  # A copy, since the training step donates both.
  ema = None if state.ema is None else jax.tree.map(jnp.copy, params)
  return dataclasses.replace(state, params=params, ema=ema)


def update_ema(ema: Params, params: Params, decay: float, step: jax.Array) -> Params:
  """Returns the exponential moving average after update number `step`, counted from 0.

  The decay rises as (1 + step) / (10 + step) to `decay`, so that initial values soon lose weight.
  """
  rate = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda old, new: rate * old + (1 - rate) * new, ema, params)


def init_params(model: Model, seed: int, batch: Mapping[str, Tree]) -> Params:
  """Returns new, boxed parameters; `batch` gives only the shapes of its arrays, rows aside."""
  zeros: Tree = {name: jnp.zeros((1, *x.shape[1:]), x.dtype) for name, x in batch.items()}
  return model.init(jax.random.key(seed), zeros)["params"]


def plan_params(model: Model, batch: Mapping[str, Tree], parallel: Parallel) -> tuple[Params, Tree]:
  """Returns the shapes of the unboxed parameters, and the sharding of each."""
  boxed = jax.eval_shape(lambda: init_params(model, 0, batch))
  return nn.unbox(boxed), parallel.shardings(boxed)


def plan_state(
  model: Model,
  optimizer: optax.GradientTransformation,
  seed: int,
  batch: Mapping[str, Tree],
  parallel: Parallel,
  ema: bool = False,
) -> tuple[Callable[[], TrainState], Tree]:
  """Returns a function that creates a new state on the devices, shard by shard, and its shardings.

  With `ema` the state holds a moving average of the parameters.
  """

  def boxed() -> TrainState:
    params = init_params(model, seed, batch)
    average = params if ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), average)

  # Traced once, for the shapes and for the program.
  with parallel.context():
    traced, abstract = jax.make_jaxpr(boxed, return_shape=True)()
  opt_state = _with_known_axes(abstract.opt_state, abstract.params)
  shardings = parallel.shardings(abstract.replace(opt_state=opt_state))
  tree = jax.tree.structure(nn.unbox(abstract))

  def create() -> TrainState:
    return jax.tree.unflatten(tree, jax.extend.core.jaxpr_as_fun(traced)())

  # It runs once: optimizing it takes longer than it saves, and changes values by rounding at most.
  quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
  return parallel.jit(create, out_shardings=shardings, compiler_options=quick), shardings


def _with_known_axes(opt_state: Tree, params: Tree) -> Tree:
  """Removes axis names from an optimizer's abstract state where no parameter has its shape.

  Optimizers create their state from boxed parameters, so it is boxed, too. Smaller arrays, such as
  sums over an axis, are not sharded; the box of a parameter without state is removed.
  """

  def is_box(x: Tree) -> bool:
    return isinstance(x, nn.Partitioned)

  boxes = jax.tree.leaves(params, is_leaf=is_box)
  known = {(box.names, box.value.shape) for box in boxes}

  def named(x: Tree) -> Tree:
    if not is_box(x):
      return x
    if not jax.tree.leaves(x.value):
      return x.value
    if (x.names, x.value.shape) in known:
      return x
    return x.replace(names=(None,) * x.value.ndim)

  return jax.tree.map(named, opt_state, is_leaf=is_box)

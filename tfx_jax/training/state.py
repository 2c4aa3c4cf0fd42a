"""What training changes: parameters, optimizer state and the step, born sharded."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from tfx_jax.parallel import Parallel


@struct.dataclass
class TrainState:
  """The state after `step` updates; `ema` is a moving average of `params`, or None."""

  step: jax.Array
  params: Any
  opt_state: optax.OptState
  ema: Any = None

  @property
  def eval_params(self) -> Any:
    """The parameters that are validated: the average where there is one."""
    return self.params if self.ema is None else self.ema


def begin_with(state: TrainState, params: Any, shardings: TrainState) -> TrainState:
  """A state that has not been trained, with other parameters of the model."""
  if "adapters" in state.params:
    params = {**state.params, "base": params}
  params = jax.device_put(params, shardings.params)
  # Of its own: both are given away when the step is taken.
  ema = None if state.ema is None else jax.tree.map(jnp.copy, params)
  return state.replace(params=params, ema=ema)


def update_ema(ema: Any, params: Any, decay: float, step: jax.Array) -> Any:
  """The exponential moving average after update number `step`, counted from 0.

  The decay rises as (1 + step) / (10 + step) to `decay`, so the random beginning is soon forgotten.
  """
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, params)


def init_params(model: nn.Module, seed: int, batch: Mapping[str, np.ndarray]) -> Any:
  """New, boxed parameters; `batch` gives only the names and ranks of its arrays."""
  zeros = {name: jnp.zeros((1, *x.shape[1:]), x.dtype) for name, x in batch.items()}
  return model.init(jax.random.key(seed), zeros)["params"]


def plan_params(
  model: nn.Module, batch: Mapping[str, np.ndarray], parallel: Parallel
) -> tuple[Any, Any]:
  """Shapes of the unboxed parameters, and the sharding of each."""
  boxed = jax.eval_shape(lambda: init_params(model, 0, batch))
  return nn.unbox(boxed), parallel.shardings(boxed)


def plan_state(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  seed: int,
  batch: Mapping[str, np.ndarray],
  parallel: Parallel,
  ema: bool = False,
) -> tuple[Callable[[], TrainState], Any]:
  """A function that makes a new state on the devices, shard by shard, and its shardings.

  With `ema` the state holds a moving average of the parameters.
  """

  def boxed() -> TrainState:
    params = init_params(model, seed, batch)
    average = params if ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), average)

  abstract = jax.eval_shape(boxed)
  opt_state = _with_known_axes(abstract.opt_state, abstract.params)
  shardings = parallel.shardings(abstract.replace(opt_state=opt_state))
  return parallel.jit(lambda: nn.unbox(boxed()), out_shardings=shardings), shardings


def _with_known_axes(opt_state: Any, params: Any) -> Any:
  """An optimizer's abstract state whose boxes name axes only of what has a parameter's shape.

  Optimizers make it from boxed parameters, and so in their boxes. What is smaller, such as sums
  over an axis, is not split; where a parameter has no state, there is nothing to be boxed.
  """

  def is_box(x: Any) -> bool:
    return isinstance(x, nn.Partitioned)

  boxes = jax.tree.leaves(params, is_leaf=is_box)
  known = {(box.names, box.value.shape) for box in boxes}

  def named(x: Any) -> Any:
    if not is_box(x):
      return x
    if not jax.tree.leaves(x.value):
      return x.value
    if (x.names, x.value.shape) in known:
      return x
    return x.replace(names=(None,) * x.value.ndim)

  return jax.tree.map(named, opt_state, is_leaf=is_box)

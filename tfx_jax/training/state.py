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
  """The state after `step` updates."""

  step: jax.Array
  params: Any
  opt_state: optax.OptState


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
) -> tuple[Callable[[], TrainState], Any]:
  """A function that makes a new state on the devices, shard by shard, and its shardings."""

  def boxed() -> TrainState:
    params = init_params(model, seed, batch)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

  shardings = parallel.shardings(jax.eval_shape(boxed))
  return parallel.jit(lambda: nn.unbox(boxed()), out_shardings=shardings), shardings

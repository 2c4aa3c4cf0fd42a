"""A small state on a mesh, at any step, to be saved and read back."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tfx_jax.layers import axes
from tfx_jax.parallel import Parallel
from tfx_jax.training.optimizer import make_optimizer
from tfx_jax.training.state import plan_params, plan_state

OPTIMIZER = make_optimizer(lambda step: 0.1, "adamw", 1.0, weight_decay=0.1)
BATCH = {"inputs": np.zeros((1, 8), np.float32)}
HARD_TO_WRITE = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1 / 3, 3e38]


class Kernel(nn.Module):
  """A parameter that the meshes below split in different ways, and one that they do not."""

  @nn.compact
  def __call__(self, batch):
    init = nn.initializers.normal()
    kernel = axes.param(self, "kernel", init, (8, 16), (axes.EMBED, axes.MLP))
    bias = axes.param(self, "bias", lambda *_: jnp.array(HARD_TO_WRITE), (8,), (None,))
    return batch["inputs"] @ kernel + bias.sum()


class Run:
  """A state on a mesh, at any step, and what is needed to read it back."""

  def __init__(self, ema=False, **sizes):
    self.parallel = Parallel(**({"data": 1} | sizes))
    init, self.shardings = plan_state(Kernel(), OPTIMIZER, 0, BATCH, self.parallel, ema)
    self.abstract = jax.eval_shape(init.jitted)
    self.params = plan_params(Kernel(), BATCH, self.parallel)
    self._first = jax.device_get(init())

  def state(self, step):
    """Differs from step to step in all of its parts."""
    state = jax.tree.map(lambda x: x + x.dtype.type(step), self._first)
    return jax.device_put(state.replace(step=np.int32(step)), self.shardings)


def bits(tree):
  return [(x.dtype, x.shape, np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)]

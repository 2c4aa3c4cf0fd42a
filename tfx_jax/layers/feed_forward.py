"""The position-wise feed-forward layer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes
from tfx_jax.layers.dropout import Dropout
from tfx_jax.layers.linear import Linear

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  "relu": jax.nn.relu,
  "gelu": lambda x: jax.nn.gelu(x, approximate=False),
  "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
  "silu": jax.nn.silu,
}


class FeedForward(nn.Module):
  """[...,D] -> [...,F] -> [...,D]; optionally gated as in Shazeer (2020, arXiv:2002.05202).

  Attributes:
    features: D.
    hidden: F.
    activation: a key of `ACTIVATIONS`.
    gated: whether the activated projection is multiplied with a second, linear one.
    use_bias: whether the projections have biases.
    dropout_rate: after the activation.
    dtype: dtype of the products.
  """

  features: int
  hidden: int
  activation: str = "relu"
  gated: bool = False
  use_bias: bool = True
  dropout_rate: float = 0.0
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    up = (self.features, self.hidden, (axes.EMBED, axes.MLP), self.use_bias, self.dtype)
    down = (self.hidden, self.features, (axes.MLP, axes.EMBED), self.use_bias, self.dtype)
    self.up, self.down = Linear(*up), Linear(*down)
    if self.gated:
      self.gate = Linear(*up)
    self.dropout = Dropout(self.dropout_rate)

  def __call__(self, x: jax.Array) -> jax.Array:
    activate = ACTIVATIONS[self.activation]
    # [...,D] -> [...,F]
    y = activate(self.gate(x)) * self.up(x) if self.gated else activate(self.up(x))
    y = axes.constrain(y, axes.BATCH, axes.LENGTH, axes.ACT_MLP)
    return self.down(self.dropout(y))  # [...,F] -> [...,D]

"""Groups: successive tokens that share a position of the decoder stack.

J tokens of a group are embedded together, and predicted one after the other by a small network. A
stack then has J times fewer positions, and the likelihood of each token stays exact (Yu et al.
2023, arXiv:2305.07185; Lee et al. 2022, arXiv:2203.01941).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tfx_jax.layers import axes
from tfx_jax.layers.embed import TokenEmbed
from tfx_jax.layers.linear import Linear, kernel_init


class GroupEmbed(nn.Module):
  """The sum of a vector for each token of a group: ids [B,P,J] -> [B,P,D].

  Attributes:
    vocab_size: V, padding included.
    size: J; each place of a group has vectors of its own.
    features: D.
    scale: factor of the vectors.
    dtype: dtype of the output.
  """

  vocab_size: int
  size: int
  features: int
  scale: float = 1.0
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    vocabulary = self.vocab_size * self.size
    self.tokens = TokenEmbed(vocabulary, self.features, self.scale, self.dtype)

  def __call__(self, tokens: jax.Array) -> jax.Array:
    return self.each(tokens).sum(axis=2)  # [B,P,J,D] -> [B,P,D]

  def each(self, tokens: jax.Array) -> jax.Array:
    """Returns the vector of each token, [B,P,J] -> [B,P,J,D]."""
    rows, positions, size = tokens.shape
    place = jax.lax.broadcasted_iota(jnp.int32, tokens.shape, 2) * self.vocab_size
    x = self.tokens((tokens + place).reshape(rows, positions * size))  # [B,P*J] -> [B,P*J,D]
    return x.reshape(rows, positions, size, self.features)


class GroupStates(nn.Module):
  """From the state of a group and its tokens to a state for each token: [B,P,D] -> [B,P,J,F].

  Token j sees the state of its group and the tokens 0 to j-1 of the group: their vectors, mapped to
  each later place, are added to the state, and a feed-forward network follows.

  Attributes:
    vocab_size: V, padding included.
    size: J.
    features: D.
    hidden: F, width of the states.
    feed_forward: makes the feed-forward network, [B,P,J,F] -> [B,P,J,F].
    norm: makes a norm of F features.
    dtype: dtype of the products.
  """

  vocab_size: int
  size: int
  features: int
  hidden: int
  feed_forward: Callable[[], nn.Module]
  norm: Callable[[], nn.Module]
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    width = self.size * self.hidden
    self.embed = GroupEmbed(self.vocab_size, self.size, self.hidden, dtype=self.dtype)
    self.state = Linear(self.features, width, (axes.EMBED, axes.MLP), dtype=self.dtype)
    self.before = _Earlier(self.size, self.hidden, self.dtype)
    self.first_norm, self.last_norm = self.norm(), self.norm()
    self.mlp = self.feed_forward()

  def __call__(self, state: jax.Array, tokens: jax.Array) -> jax.Array:
    rows, positions, size = tokens.shape
    shape = rows, positions, size, self.hidden
    x = self.state(state).reshape(shape)  # [B,P,D] -> [B,P,J*F] -> [B,P,J,F]
    x = x + self.before(self.embed.each(tokens))
    # [B,P,J,F] -> [B,P*J,F], as layers expect it.
    x = x.reshape(rows, positions * size, self.hidden)
    x = x + self.mlp(self.first_norm(x))
    return self.last_norm(x).reshape(shape)


class _Earlier(nn.Module):
  """Maps the vectors of tokens to the places after them, and adds these: [B,P,J,F] -> [B,P,J,F]."""

  size: int
  hidden: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    size, hidden = self.size, self.hidden
    shape = (size * hidden, size * hidden)
    kernel = axes.param(self, "kernel", kernel_init(1), shape, (axes.EMBED, axes.MLP))
    kernel = kernel.astype(self.dtype).reshape(size, hidden, size, hidden)
    # [J,1,J,1]: place i is read by place j behind it.
    before = np.tri(size, k=-1, dtype=bool).T[:, None, :, None]
    return jnp.einsum("bpif,ifjg->bpjg", x.astype(self.dtype), jnp.where(before, kernel, 0))

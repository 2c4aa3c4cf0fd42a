"""From elements, token ids or frames, to vectors; the length of a sequence stays the same."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes
from tfx_jax.layers.linear import Linear


def padded_size(vocab_size: int, multiple: int) -> int:
  """Returns V, the vocabulary's size rounded up to a multiple that devices and lanes can share."""
  return -(-vocab_size // multiple) * multiple


class TokenEmbed(nn.Module):
  """Looks up a learned vector for each token: ids [B,T] -> [B,T,D].

  Attributes:
    vocab_size: V, padding included.
    features: D.
    scale: factor of the vectors, sqrt(D) in Vaswani et al. (2017), 3.4.
    dtype: dtype of the output.
  """

  vocab_size: int
  features: int
  scale: float = 1.0
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    init = nn.initializers.normal(self.features**-0.5)
    shape = (self.vocab_size, self.features)
    self.embedding = axes.param(self, "embedding", init, shape, (axes.VOCAB, axes.EMBED))

  def __call__(self, tokens: jax.Array) -> jax.Array:
    # Gather the sharded D first: otherwise each device looks up its share of D for all rows.
    table = axes.constrain(self.embedding, axes.VOCAB, axes.ACT_EMBED)
    x = jnp.take(table, tokens, axis=0, mode="clip").astype(self.dtype)  # [B,T] -> [B,T,D]
    return axes.constrain(x * self.scale, axes.BATCH, axes.LENGTH, axes.ACT_EMBED)

  def table(self) -> jax.Array:
    """Returns the vectors [V,D], for a tied head."""
    return self.embedding


class FrameEmbed(nn.Module):
  """Projects frames (image patches, mel spectra): [B,T,C] -> [B,T,D], with a bias.

  Attributes:
    channels: C.
    features: D.
    dtype: dtype of the product and the output.
  """

  channels: int
  features: int
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    self.projection = Linear(self.channels, self.features, (None, axes.EMBED), dtype=self.dtype)

  def __call__(self, frames: jax.Array) -> jax.Array:
    return axes.constrain(self.projection(frames), axes.BATCH, axes.LENGTH, axes.ACT_EMBED)

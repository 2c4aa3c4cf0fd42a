"""From token ids to vectors; with `head.py` the only place that knows what a token is."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes


def padded_size(vocab_size: int, multiple: int) -> int:
  """V: the vocabulary rounded up to a multiple, so that it divides over devices and lanes."""
  return -(-vocab_size // multiple) * multiple


class TokenEmbed(nn.Module):
  """A table of vectors: ids [B,T] -> [B,T,D].

  Attributes:
    vocab_size: V, padding included.
    features: D.
    scale: what the vectors are multiplied by, sqrt(D) in Vaswani et al. (2017), 3.4.
    dtype: of the output.
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
    # Whole vectors: else each device would make its share of those of all rows.
    table = axes.constrain(self.embedding, axes.VOCAB, axes.ACT_EMBED)
    x = jnp.take(table, tokens, axis=0, mode="clip").astype(self.dtype)
    return axes.constrain(x * self.scale, axes.BATCH, axes.LENGTH, axes.ACT_EMBED)

  def table(self) -> jax.Array:
    """The vectors [V,D], for a head that is tied to them."""
    return self.embedding

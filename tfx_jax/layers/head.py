"""From hidden states to predictions of the next element: logits of a vocabulary, or a frame."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes, cpu_layout
from tfx_jax.layers.gradients import with_written_gradient
from tfx_jax.layers.linear import Linear, add


class VocabularyHead(nn.Module):
  """[B,T,D] -> logits [B,T,V]; the vocabulary's padding has no probability.

  Attributes:
    features: D.
    vocab_size: V, padding included.
    num_tokens: tokens that exist; logits beyond them are float32's minimum.
    tied: whether the kernel is the embedding table given to the call.
    use_bias: whether each token has a bias.
    dtype: dtype of the product's operands; logits are float32.
    scale: factor of hidden states, D^-0.5 in T5 (Raffel et al. 2020) where the head is tied.
    plain_gradients: whether JAX derives the product's gradient, see `gradients.py`.
  """

  features: int
  vocab_size: int
  num_tokens: int
  tied: bool
  use_bias: bool = False
  dtype: jnp.dtype = jnp.float32
  scale: float = 1.0
  plain_gradients: bool = False

  @nn.compact
  def __call__(self, hidden: jax.Array, table: jax.Array | None = None) -> jax.Array:
    if self.has_variable("params", cpu_layout.HEAD_TABLE):
      table = self.get_variable("params", cpu_layout.HEAD_TABLE).T  # [D,V] -> [V,D]
    elif not self.tied:
      init = nn.initializers.normal(self.features**-0.5)
      shape = (self.vocab_size, self.features)
      table = axes.param(self, "kernel", init, shape, (axes.VOCAB, axes.EMBED))
    if table is None:
      raise ValueError("a tied head needs the embedding's table")
    hidden, table = (hidden * self.scale).astype(self.dtype), table.astype(self.dtype)
    logits = _logits(hidden, table, plain_gradients=self.plain_gradients)
    if self.use_bias:
      zeros = nn.initializers.zeros
      logits = add(logits, axes.param(self, "bias", zeros, (self.vocab_size,), (axes.VOCAB,)))
    if self.num_tokens < self.vocab_size:
      token = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2)
      logits = jnp.where(token < self.num_tokens, logits, jnp.finfo(jnp.float32).min)
    return axes.constrain(logits, axes.BATCH, axes.LENGTH, axes.ACT_VOCAB)


class FrameOutput(NamedTuple):
  """Predictions of a head whose elements are frames.

  Attributes:
    frames: float32 [B,T,C].
    stop: float32 [B,T], logits of the probability that a frame is the last one.
  """

  frames: jax.Array
  stop: jax.Array


class FrameHead(nn.Module):
  """[B,T,D] -> the next frame [B,T,C] and the logit of stopping after it [B,T].

  As in Li et al. (2019, arXiv:1809.08895), 3.6, without the post-net.

  Attributes:
    features: D.
    channels: C.
    dtype: dtype of the products' operands; results are float32.
  """

  features: int
  channels: int
  dtype: jnp.dtype = jnp.float32

  tied = False  # An embedding of frames has no table.

  def setup(self):
    self.frame = Linear(self.features, self.channels, (axes.EMBED, None), dtype=self.dtype)
    self.stop = Linear(self.features, 1, (axes.EMBED, None), dtype=self.dtype)

  def __call__(self, hidden: jax.Array, table: None = None) -> FrameOutput:
    frames, stop = self.frame(hidden), self.stop(hidden)[..., 0]  # [B,T,C], [B,T,1] -> [B,T]
    frames = axes.constrain(frames.astype(jnp.float32), axes.BATCH, axes.LENGTH, None)
    return FrameOutput(frames, axes.constrain(stop.astype(jnp.float32), axes.BATCH, axes.LENGTH))


def _product(hidden: jax.Array, table: jax.Array) -> jax.Array:
  """Multiplies hidden states [B,T,D] with a table [V,D]: float32 [B,T,V].

  Narrower results would round different logits to the same value, which beam search must rank.
  """
  return jnp.einsum("btd,vd->btv", hidden, table, preferred_element_type=jnp.float32)


def _forward(hidden: jax.Array, table: jax.Array) -> tuple:
  return _product(hidden, table), (hidden, table)


def _backward(saved: tuple, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Computes the table's gradient as [D,V] and transposes it.

  Computed as [V,D], XLA would compute and write the whole logits' gradient again, transposed.
  """
  hidden, table = saved
  grad = grad.astype(hidden.dtype)
  return jnp.einsum("btv,vd->btd", grad, table), jnp.einsum("btd,btv->dv", hidden, grad).T


_logits = with_written_gradient(_product, _forward, _backward)

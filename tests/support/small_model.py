"""A small encoder-decoder, a small decoder, a smaller model, and packed batches for all."""

import functools

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tfx_jax.data.packing import pack
from tfx_jax.layers.attention import Attention
from tfx_jax.layers.block import Block
from tfx_jax.layers.copy import CopyAttention
from tfx_jax.layers.dropout import Dropout
from tfx_jax.layers.embed import TokenEmbed
from tfx_jax.layers.feed_forward import FeedForward
from tfx_jax.layers.head import VocabularyHead
from tfx_jax.layers.norm import LayerNorm, RMSNorm
from tfx_jax.layers.position import sinusoidal
from tfx_jax.layers.stack import Stack
from tfx_jax.models.decoder_only import DecoderOnly
from tfx_jax.models.encoder_decoder import EncoderDecoder

FEATURES, TOKENS, VOCABULARY = 16, 37, 40
SOURCE_LENGTH, TARGET_LENGTH = 12, 16


class Bag(nn.Module):
  """A minimal model, quick to compile."""

  rate: float = 0.0

  def setup(self):
    shape = (VOCABULARY, FEATURES)
    self.embedding = self.param("embedding", nn.initializers.normal(0.3), shape)
    self.mix = nn.Dense(FEATURES)
    self.dropout = Dropout(self.rate)

  def __call__(self, batch):
    source = self.embedding[batch["inputs"]].mean(axis=1, keepdims=True)
    hidden = self.mix(self.embedding[batch["decoder_inputs"]] + source)
    return self.dropout(jnp.tanh(hidden))

  def logits(self, hidden, context=None):
    return jnp.einsum("btd,vd->btv", hidden, self.embedding)


def small_model(dropout=0.0, layers=1, copy=False):
  """One table for embeddings and head; kernels, biases and norms of every kind."""
  attention = functools.partial(Attention, FEATURES, 4, 2, 4)
  norm = functools.partial(LayerNorm, FEATURES)
  block = functools.partial(
    Block, attention, functools.partial(FeedForward, FEATURES, 32), norm, dropout_rate=dropout
  )
  stack = functools.partial(Stack, num_layers=layers, final_norm=norm)
  position = functools.partial(functools.partial, sinusoidal, features=FEATURES)
  return EncoderDecoder(
    embed_source=None,
    embed_target=functools.partial(TokenEmbed, VOCABULARY, FEATURES, scale=FEATURES**0.5),
    position_source=position,
    position_target=position,
    encoder=functools.partial(stack, block),
    decoder=functools.partial(stack, functools.partial(block, cross_attention=attention)),
    head=functools.partial(VocabularyHead, FEATURES, VOCABULARY, TOKENS, tied=True),
    dropout_rate=dropout,
    copy_attention=functools.partial(CopyAttention, FEATURES) if copy else None,
  )


def small_decoder(layers=1, **stack):
  """What the other model has not: RMSNorm, rotary positions, gates, a head of its own."""
  norm = functools.partial(RMSNorm, FEATURES)
  block = functools.partial(
    Block,
    functools.partial(Attention, FEATURES, 4, 2, 4, use_bias=False, rotary=True),
    functools.partial(FeedForward, FEATURES, 32, "silu", gated=True, use_bias=False),
    norm,
    norm_placement="sandwich",
  )
  return DecoderOnly(
    embed=functools.partial(TokenEmbed, VOCABULARY, FEATURES),
    position=None,
    decoder=functools.partial(Stack, block, layers, final_norm=norm, **stack),
    head=functools.partial(VocabularyHead, FEATURES, VOCABULARY, TOKENS, tied=False, use_bias=True),
  )


def small_batch(rows, seed=0):
  """Rows of one or two pairs of unequal length, the last row almost empty."""
  rng = np.random.default_rng(seed)

  def sequences(longest, counts):
    return [
      [rng.integers(4, TOKENS, rng.integers(2, longest + 1)) for _ in range(n)] for n in counts
    ]

  counts = [*rng.integers(1, 3, rows - 1), 1]
  sources, targets = sequences(SOURCE_LENGTH // 2, counts), sequences(TARGET_LENGTH // 2, counts)
  targets[-1] = [targets[-1][0][:1]]
  return pack(sources, targets, SOURCE_LENGTH, TARGET_LENGTH)

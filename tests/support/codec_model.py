"""A small encoder-decoder with random parameters for the elements of any two codecs."""

import functools

import jax
import numpy as np
from flax import linen as nn
from support.small_model import FEATURES

from tfx_jax.codecs.codec import Tokens
from tfx_jax.layers.attention import Attention
from tfx_jax.layers.block import Block
from tfx_jax.layers.embed import FrameEmbed, TokenEmbed
from tfx_jax.layers.feed_forward import FeedForward
from tfx_jax.layers.head import FrameHead, VocabularyHead
from tfx_jax.layers.norm import LayerNorm
from tfx_jax.layers.position import sinusoidal
from tfx_jax.layers.stack import Stack
from tfx_jax.models.encoder_decoder import EncoderDecoder


def codec_model(codecs):
  """The model of a source and a target codec."""
  source, target = (codec.element for codec in codecs)
  attention = functools.partial(Attention, FEATURES, 4, 2, 4)
  norm = functools.partial(LayerNorm, FEATURES)
  block = functools.partial(Block, attention, functools.partial(FeedForward, FEATURES, 32), norm)
  stack = functools.partial(Stack, num_layers=1, final_norm=norm)
  position = functools.partial(functools.partial, sinusoidal, features=FEATURES)
  return EncoderDecoder(
    embed_source=_embed(source),
    embed_target=_embed(target),
    position_source=position,
    position_target=position,
    encoder=functools.partial(stack, block),
    decoder=functools.partial(stack, functools.partial(block, cross_attention=attention)),
    head=_head(target),
  )


def random_params(model, batch, seed=0):
  """Parameters by which outputs differ between inputs and steps: large kernels, no biases."""
  rng = np.random.default_rng(seed)

  def leaf(path, x):
    shape = nn.unbox(x).shape
    name = [key.key for key in path if hasattr(key, "key")][-1]
    scale = {"bias": 0.0, "scale": 0.1, "embedding": 2.0}.get(name, 0.7)
    return (scale * rng.normal(size=shape) + (name == "scale")).astype(np.float32)

  boxed = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
  return jax.tree.map_with_path(leaf, boxed, is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata))


def _embed(element):
  if isinstance(element, Tokens):
    return functools.partial(TokenEmbed, element.vocab_size, FEATURES)
  return functools.partial(FrameEmbed, element.channels, FEATURES)


def _head(element):
  if isinstance(element, Tokens):
    size = element.vocab_size
    return functools.partial(VocabularyHead, FEATURES, size, size, tied=False, use_bias=True)
  return functools.partial(FrameHead, FEATURES, element.channels)

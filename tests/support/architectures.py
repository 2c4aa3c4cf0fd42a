"""Small models of any architecture, with parameters at random and batches for them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tfx_jax.layers import norm, position
from tfx_jax.layers.attention import Attention
from tfx_jax.layers.block import Block
from tfx_jax.layers.copy import CopyAttention
from tfx_jax.layers.embed import TokenEmbed
from tfx_jax.layers.feed_forward import FeedForward
from tfx_jax.layers.head import VocabularyHead
from tfx_jax.layers.stack import Stack
from tfx_jax.models.decoder_only import DecoderOnly
from tfx_jax.models.encoder_decoder import EncoderDecoder

FEATURES, HEADS, HIDDEN, LAYERS = 16, 4, 24, 2
TOKENS, VOCABULARY = 21, 24
BUCKETS = {"num_buckets": 8, "max_distance": 16}


@dataclasses.dataclass(frozen=True)
class Settings:
  """One architecture; `tying` is "all", "target" (the head with the decoder) or "none"."""

  norm: str = "layer"
  placement: str = "pre"
  position: str = "sinusoidal"
  activation: str = "relu"
  gated: bool = False
  use_bias: bool = True
  kv_heads: int = HEADS
  head_dim: int = 4
  tying: str = "all"
  scale: float = 1.0
  head_bias: bool = False
  dropout: float = 0.0
  dtype: str = "float32"
  copy: bool = False
  zero_start: bool = False
  windows: tuple[int, ...] | None = None


CONFIGS = {
  "vaswani": Settings(placement="post", scale=FEATURES**0.5, zero_start=True),
  "pre": Settings(head_dim=6, head_bias=True, activation="gelu_tanh", tying="target"),
  "bart": Settings(placement="post", position="learned", activation="gelu", head_bias=True),
  "t5": Settings("rms", "pre", "bucket", use_bias=False, head_dim=6),
  "llama": Settings(
    *("rms", "pre", "rotary", "silu"),
    gated=True,
    use_bias=False,
    kv_heads=2,
    tying="none",
    windows=(0, 3),
  ),
  "post_rotary": Settings("rms", "post", "rotary", kv_heads=1, head_dim=6, tying="target"),
  "sandwich": Settings("layer", "sandwich", "alibi", "gelu", gated=True, kv_heads=1, tying="none"),
  "grouped_bucket": Settings(
    "layer_no_bias", "pre", "bucket", "gelu_tanh", True, kv_heads=2, windows=(2, 0)
  ),
  "copying": Settings("rms", position="rotary", head_bias=True, tying="target", copy=True),
}


@functools.cache
def build(settings, decoder_only=False, window=None):
  s, dtype = settings, jnp.dtype(settings.dtype)
  make_norm = {
    "layer": functools.partial(norm.LayerNorm, FEATURES, dtype=dtype),
    "layer_no_bias": functools.partial(norm.LayerNorm, FEATURES, use_bias=False, dtype=dtype),
    "rms": functools.partial(norm.RMSNorm, FEATURES, dtype=dtype),
  }[s.norm]
  absolute = {
    "sinusoidal": functools.partial(functools.partial, position.sinusoidal, features=FEATURES),
    "learned": functools.partial(position.LearnedPositions, 16, FEATURES),
  }.get(s.position)

  def relative(bidirectional):
    return {
      "alibi": functools.partial(position.AlibiBias, HEADS),
      "bucket": functools.partial(position.BucketBias, HEADS, bidirectional, **BUCKETS),
    }.get(s.position)

  attention = functools.partial(
    Attention,
    FEATURES,
    HEADS,
    s.kv_heads,
    s.head_dim,
    use_bias=s.use_bias,
    dropout_rate=s.dropout,
    dtype=dtype,
  )
  own_attention = functools.partial(attention, rotary=s.position == "rotary")
  feed_forward = functools.partial(
    FeedForward, FEATURES, HIDDEN, s.activation, s.gated, s.use_bias, s.dropout, dtype
  )
  block = functools.partial(
    Block,
    own_attention,
    feed_forward,
    make_norm,
    norm_placement=s.placement,
    dropout_rate=s.dropout,
  )
  stack = functools.partial(
    Stack,
    num_layers=LAYERS,
    final_norm=None if s.placement == "post" else make_norm,
  )
  embed = functools.partial(TokenEmbed, VOCABULARY, FEATURES, scale=s.scale, dtype=dtype)
  head = functools.partial(
    VocabularyHead,
    FEATURES,
    VOCABULARY,
    TOKENS,
    tied=s.tying != "none",
    use_bias=s.head_bias,
    dtype=dtype,
  )
  if decoder_only:
    decoder = functools.partial(stack, block, relative=relative(False), windows=s.windows)
    return DecoderOnly(embed, absolute, decoder, head, window, s.dropout)
  return EncoderDecoder(
    embed_source=None if s.tying == "all" else embed,
    embed_target=embed,
    position_source=absolute,
    position_target=absolute,
    encoder=functools.partial(stack, block, relative=relative(True)),
    decoder=functools.partial(
      stack,
      functools.partial(block, cross_attention=attention),
      relative=relative(False),
      windows=s.windows,
    ),
    head=head,
    dropout_rate=s.dropout,
    zero_start=s.zero_start,
    copy_attention=functools.partial(CopyAttention, FEATURES, dtype) if s.copy else None,
  )


@functools.cache
def shapes(settings, decoder_only=False):
  """The parameters' shapes, without a value computed."""
  model = build(settings, decoder_only)
  return nn.unbox(jax.eval_shape(model.init, jax.random.key(0), layout([])))["params"]


@functools.cache
def parameters(settings, decoder_only=False, seed=0):
  """Parameters at random: biases and norms too, which begin as zeros and ones."""
  rng = np.random.default_rng(seed)

  def leaf(path, shape):
    value = 0.3 * rng.normal(size=shape.shape)
    return (value + (path[-1].key == "scale")).astype(np.float32)

  return jax.tree_util.tree_map_with_path(leaf, shapes(settings, decoder_only))


@functools.cache
def forward(settings, decoder_only=False):
  """Compiled: parameters and batch -> logits."""

  def logits(params, batch):
    model = build(settings, decoder_only).bind({"params": params})
    return model.logits(model(batch), batch.get("inputs"))

  return jax.jit(logits)


def sentences(count, source_length=4, target_length=4, seed=0):
  """Pairs of token lists of ragged lengths up to the given."""
  rng = np.random.default_rng(seed)

  def sentence(longest):
    return rng.integers(0, TOKENS, rng.integers(1, longest + 1)).tolist()

  return [(sentence(source_length), sentence(target_length)) for _ in range(count)]


def layout(rows, count=4, source_length=9, target_length=8, seed=0):
  """A batch whose row i packs the pairs `rows[i]`; padding holds tokens and positions at random."""
  rng = np.random.default_rng(seed)
  batch = {}
  for name, segments, side, length in (
    ("inputs", "inputs", 0, source_length),
    ("decoder_inputs", "targets", 1, target_length),
  ):
    tokens = rng.integers(0, TOKENS, (count, length)).astype(np.int32)
    positions = rng.integers(0, length, (count, length)).astype(np.int32)
    numbers = np.zeros((count, length), np.int32)
    for row, pairs in enumerate(rows):
      start = 0
      for number, pair in enumerate(pairs, 1):
        place = slice(start, start + len(pair[side]))
        tokens[row, place] = pair[side]
        positions[row, place] = np.arange(len(pair[side]))
        numbers[row, place] = number
        start = place.stop
    batch |= {name: tokens, f"{segments}_segments": numbers, f"{segments}_positions": positions}
  return batch


def as_prompt(batch):
  """The prompts to generate from that are made of a batch's sources and decoder inputs."""
  keys = {
    "decoder_inputs": "prompt",
    "targets_segments": "prompt_segments",
    "targets_positions": "prompt_positions",
  }
  sources = ("inputs", "inputs_segments", "inputs_positions")
  kept = (*sources, *keys)
  return {keys.get(name, name): batch[name] for name in kept if name in batch}

"""From the configuration and the codecs to the model."""

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from tfx_jax.builders.data import make_layout
from tfx_jax.builders.sides import side_grids
from tfx_jax.builders.structured import rotary_scaling, windows
from tfx_jax.codecs.codec import Element, Frames, Tokens
from tfx_jax.errors import UserError
from tfx_jax.layers import axes
from tfx_jax.layers import norm as norms
from tfx_jax.layers.attention import Attention
from tfx_jax.layers.block import Block
from tfx_jax.layers.copy import CopyAttention
from tfx_jax.layers.embed import FrameEmbed, TokenEmbed, padded_size
from tfx_jax.layers.feed_forward import FeedForward
from tfx_jax.layers.group import GroupEmbed, GroupStates
from tfx_jax.layers.head import FrameHead, VocabularyHead
from tfx_jax.layers.linear import Linear
from tfx_jax.layers.position import (
  AlibiBias,
  BucketBias,
  Grid,
  LearnedGrid,
  LearnedPositions,
  sinusoidal,
)
from tfx_jax.layers.stack import Stack
from tfx_jax.models.autoencoder import Autoencoder
from tfx_jax.models.decoder_only import DecoderOnly
from tfx_jax.models.encoder_decoder import EncoderDecoder
from tfx_jax.models.grouped import Grouped
from tfx_jax.models.masked import Masked
from tfx_jax.models.model import Model
from tfx_jax.models.parameters import example_batch

NORMS = {"layer_norm": norms.LayerNorm, "rms_norm": norms.RMSNorm}
POSITIONS = (
  "sinusoidal", "learned", "learned_2d", "rotary", "rotary_2d", "alibi", "bucket", "none",
)  # fmt: skip
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
ARCHITECTURES = ("encoder_decoder", "decoder_only", "masked", "autoencoder")


class HasElement(Protocol):
  """A codec, or a plan of one, as far as a model depends on it."""

  @property
  def element(self) -> Element:
    """The kind of element that sequences consist of."""
    ...


def make_model(config: ConfigDict, codecs: tuple[HasElement, HasElement]) -> Model:
  """Returns the model that reads and generates elements of these codecs.

  Raises:
    UserError: if a copy head shall copy frames.
  """
  c = config.model
  source, target = (codec.element for codec in codecs)
  both_tokens = isinstance(source, Tokens) and isinstance(target, Tokens)
  if c.copy_head and not both_tokens:
    raise UserError("model.copy_head=True needs sources and targets of tokens, not of frames")
  dtype, norm, attention = _dtype(c.dtype), _norm(c), _attention(c)
  two = c.position.endswith("_2d")
  grids = side_grids(config) if two else (None, None)
  rotary = functools.partial(
    attention,
    rotary=c.position.startswith("rotary"),
    rotary_base=c.rotary_base,
    rotary_scaling=rotary_scaling(c.rotary_scaling),
  )
  plain = functools.partial(
    Block,
    feed_forward=functools.partial(
      FeedForward,
      c.features,
      c.feed_forward,
      c.activation,
      c.gated,
      c.use_bias,
      c.activation_dropout,
      dtype,
    ),
    norm=norm,
    norm_placement=c.norm_placement,
    dropout_rate=c.dropout,
  )

  def block(grid: Grid | None, **more: Callable) -> Callable:
    return functools.partial(plain, attention=functools.partial(rotary, rotary_grid=grid), **more)

  def stack(block: Callable, num_layers: int, bidirectional: bool) -> Callable:
    relative = {
      "alibi": functools.partial(AlibiBias, c.num_heads),
      "bucket": functools.partial(
        BucketBias, c.num_heads, bidirectional, c.num_buckets, c.max_distance
      ),
    }
    return functools.partial(
      Stack,
      block,
      num_layers,
      final_norm=None if c.norm_placement == "post" else norm,
      relative=relative.get(c.position),
      scan=c.scan_layers,
      remat=c.remat,
      windows=None if bidirectional else windows(c.windows, num_layers),
    )

  learned = functools.partial(LearnedPositions, c.max_positions, c.features)
  position = {
    "sinusoidal": lambda: functools.partial(sinusoidal, features=c.features),
    "learned": learned,
    "learned_2d": learned,
  }.get(c.position)

  def position_of(grid: Grid | None) -> Callable | None:
    if grid is None or c.position != "learned_2d":
      return position
    return functools.partial(LearnedGrid, grid, c.features)

  if c.architecture == "autoencoder":
    levels = tuple(c.levels)
    linear = functools.partial(Linear, dtype=dtype)
    autoencoder = Autoencoder(
      embed=_embed(c, source),
      position=position_of(grids[0]),
      encoder=stack(block(grids[0]), c.encoder_layers, bidirectional=True),
      decoder=stack(block(grids[0]), c.decoder_layers, bidirectional=True),
      to_code=functools.partial(linear, c.features, len(levels), (axes.EMBED, None)),
      from_code=functools.partial(linear, len(levels), c.features, (None, axes.EMBED)),
      head=functools.partial(linear, c.features, math.prod(source.shape), (axes.EMBED, None)),
      levels=levels,
      dropout_rate=c.dropout,
    )
    # It has no decoding; its objective and its generator take it for what it is.
    return cast(Model, autoencoder)
  if isinstance(source, Tokens) and isinstance(target, Tokens):
    if c.architecture == "decoder_only" and source.vocab_size > target.vocab_size:
      # One vocabulary for both sides: the codec that comes second in it has the highest ids.
      target = source
  head = _head(c, target)
  shared = {"dropout_rate": c.dropout, "embed_norm": norm if c.embedding_norm else None}
  if c.architecture == "decoder_only":
    grid = grids[0] or grids[1]
    if grid is not None and isinstance(target, Tokens):
      # Rotary positions in a picture leave the order of the other tokens to learned ones.
      more = position_of(grid) if c.position == "learned_2d" else None
      shared |= {"grid_position": more, "first_patch": target.others}
      position = learned
    decoder = stack(block(grid), c.decoder_layers, bidirectional=False)
    window = make_layout(config).window
    return DecoderOnly(_embed(c, target), position, decoder, head, window, **shared)
  both = functools.partial(
    EncoderDecoder,
    embed_source=None if c.share_embeddings and both_tokens else _embed(c, source),
    embed_target=_embed(c, target),
    position_source=position_of(grids[0]),
    position_target=position_of(grids[1]),
    encoder=stack(block(grids[0]), c.encoder_layers, bidirectional=True),
    decoder=stack(
      block(grids[1], cross_attention=attention), c.decoder_layers, bidirectional=False
    ),
    head=head,
    copy_attention=functools.partial(CopyAttention, c.features, dtype) if c.copy_head else None,
    zero_start=c.zero_start,
    **shared,
  )
  if c.architecture == "encoder_decoder" and c.group_size == 1:
    return both()
  if c.architecture == "encoder_decoder":
    return _grouped(c, both.keywords, target)
  lengths = functools.partial(
    Linear, c.features, config.data.target_length + 1, (axes.EMBED, None), dtype=dtype
  )
  known = isinstance(target, Tokens) and target.length
  return Masked(**both.keywords, length_head=None if known else lengths)


def example_of(codecs: tuple[HasElement, HasElement]) -> dict[str, np.ndarray]:
  """Returns a batch to initialize the parameters of a model of these codecs with."""
  source, target = (codec.element.shape for codec in codecs)
  return example_batch(source, target)


def _grouped(c: ConfigDict, fields: dict[str, Any], target: Element) -> Grouped:
  """Returns the encoder-decoder of these fields with groups of target tokens."""
  assert isinstance(target, Tokens)
  vocabulary, hidden = padded_size(target.vocab_size, c.vocab_multiple), c.group_features
  dtype, scale = _dtype(c.dtype), c.features**0.5 if c.scale_embeddings else 1.0
  shape = vocabulary, c.group_size, c.features
  narrow = c.copy_and_resolve_references()
  narrow.features = hidden
  feed_forward = functools.partial(
    FeedForward, hidden, 2 * hidden, c.activation, c.gated, c.use_bias, dtype=dtype
  )
  changed = {
    "embed_target": functools.partial(GroupEmbed, *shape, scale, dtype),
    "head": _head(narrow, target),
    "group_size": c.group_size,
    "group_states": functools.partial(
      GroupStates, *shape, hidden, feed_forward, _norm(narrow), dtype
    ),
  }
  return Grouped(**fields | changed)


def _embed(c: ConfigDict, element: Element) -> Callable[[], nn.Module]:
  if isinstance(element, Frames):
    return functools.partial(FrameEmbed, element.channels, c.features, _dtype(c.dtype))
  size = padded_size(element.vocab_size, c.vocab_multiple)
  scale = c.features**0.5 if c.scale_embeddings else 1.0
  return functools.partial(TokenEmbed, size, c.features, scale, _dtype(c.dtype))


def _head(c: ConfigDict, element: Element) -> Callable[[], nn.Module]:
  if isinstance(element, Frames):
    return functools.partial(FrameHead, c.features, element.channels, _dtype(c.dtype))
  return functools.partial(
    VocabularyHead,
    c.features,
    padded_size(element.vocab_size, c.vocab_multiple),
    element.vocab_size,
    c.tie_output,
    c.output_bias,
    _dtype(c.dtype),
    c.features**-0.5 if c.scale_logits else 1.0,
    c.plain_gradients,
  )


def _attention(c: ConfigDict) -> Callable:
  return functools.partial(
    Attention,
    c.features,
    c.num_heads,
    c.num_kv_heads or c.num_heads,
    c.head_dim or c.features // c.num_heads,
    use_bias=c.use_bias,
    qkv_bias=c.qkv_bias,
    scaled=c.scale_scores,
    dropout_rate=c.attention_dropout,
    rows_at_once=c.attention_rows,
    dtype=_dtype(c.dtype),
    plain_gradients=c.plain_gradients,
  )


def _norm(c: ConfigDict) -> Callable:
  norm = functools.partial(
    NORMS[c.norm],
    c.features,
    epsilon=c.norm_epsilon,
    dtype=_dtype(c.dtype),
    plain_gradients=c.plain_gradients,
  )
  return functools.partial(norm, use_bias=c.use_bias) if c.norm == "layer_norm" else norm


def _dtype(name: str) -> Any:
  if name == "auto":
    name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
  return DTYPES[name]

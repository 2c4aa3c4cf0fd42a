"""Estimates of a training step's cost: parameters, FLOPs, and bytes of activations.

The letters of sizes are those of `layers/axes.py`. All numbers are for the whole model and batch,
except `Cost.activation_bytes`, which is for one device.
"""

import dataclasses
from collections.abc import Mapping

# Bytes of a logit or an attention weight: both are float32, whatever the compute dtype.
FLOAT32 = 4


@dataclasses.dataclass(frozen=True)
class Size:
  """Sizes of a model and a batch; other names are those of the configuration.

  Attributes:
    batch_size: B.
    source_length: S; 0 for a decoder-only model.
    target_length: T.
    source_positions: number of learned vectors for the encoder's positions.
    target_positions: likewise of the decoder.
    source_vocab: number of entries of the encoder's separate embedding; 0 if it has none.
    target_vocab: V.
    dtype_bytes: bytes of a number in the compute dtype.
    loss_chunks: number of chunks that the loss is computed in.
  """

  batch_size: int
  source_length: int
  target_length: int
  source_vocab: int
  target_vocab: int
  encoder_layers: int
  decoder_layers: int
  features: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  feed_forward: int
  gated: bool
  use_bias: bool
  qkv_bias: bool
  norm: str
  norm_placement: str
  position: str
  source_positions: int
  target_positions: int
  num_buckets: int
  embedding_norm: bool
  tie_output: bool
  output_bias: bool
  copy_head: bool
  attention_rows: int
  remat: str
  dtype_bytes: int
  loss_chunks: int
  microbatches: int

  @property
  def has_encoder(self) -> bool:
    """Returns true for an encoder-decoder model."""
    return self.source_length > 0


@dataclasses.dataclass(frozen=True)
class Cost:
  """Cost of a training step.

  Attributes:
    parameters: number of parameters.
    flops: FLOPs of a step's matrix products, forward, backward and recomputed.
    activation_bytes: peak bytes that one device holds for the backward pass, logits included.
  """

  parameters: int
  flops: int
  activation_bytes: int


def cost(size: Size, mesh: Mapping[str, int]) -> Cost:
  """Returns the cost of a step on a mesh with these sizes of its axes."""
  return Cost(count_parameters(size), flops(size), activation_bytes(size, mesh))


def count_parameters(size: Size) -> int:
  """Returns the number of parameters."""
  s, d = size, size.features
  norm = d * (2 if s.norm == "layer_norm" and s.use_bias else 1)
  norms = norm * (2 if s.norm_placement == "sandwich" else 1)
  bias = 0
  if s.use_bias or s.qkv_bias:
    bias += (s.num_heads + 2 * s.num_kv_heads) * s.head_dim
  attention = _query(s) + _key_value(s) + _out(s) + bias + d * s.use_bias
  mlp = _feed_forward(s) + s.use_bias * (s.feed_forward * (2 if s.gated else 1) + d)
  layer = attention + mlp + 2 * norms
  once = (norm if s.norm_placement != "post" else 0) + norm * s.embedding_norm
  once += s.num_buckets * s.num_heads * (s.position == "bucket")
  total = (s.target_vocab + s.target_positions) * d + s.decoder_layers * layer + once
  if s.has_encoder:
    total += (s.source_vocab + s.source_positions) * d + s.encoder_layers * layer + once
    total += s.decoder_layers * (attention + norms)
  total += s.target_vocab * (d * (not s.tie_output) + s.output_bias)
  return total + (d * d + 2 * d + 1 if s.copy_head else 0)


def flops(size: Size) -> int:
  """Returns the FLOPs of a step: two per multiply-add, and twice as many in the backward pass.

  Attention is counted without its mask, since masked scores are computed as well.
  """
  s = size
  source, target = s.batch_size * s.source_length, s.batch_size * s.target_length
  projections = _query(s) + _key_value(s) + _out(s)
  encoder = decoder = 2 * (projections + _feed_forward(s))
  attention = s.decoder_layers * target * s.target_length
  layers = s.decoder_layers * target * decoder
  if s.has_encoder:
    layers += s.encoder_layers * source * encoder
    layers += 2 * s.decoder_layers * (target * (_query(s) + _out(s)) + source * _key_value(s))
    attention += s.encoder_layers * source * s.source_length
    attention += s.decoder_layers * target * s.source_length
  attention *= 4 * s.num_heads * s.head_dim
  head = 2 * target * s.features * s.target_vocab
  again = {"none": 0, "dots": attention, "full": attention + layers}[s.remat]
  if s.attention_rows and s.remat == "none":
    again = attention
  return 3 * (layers + attention + head) + again


def activation_bytes(size: Size, mesh: Mapping[str, int]) -> int:
  """Returns a device's bytes for the backward pass, with a chunk of logits and its gradient.

  Inputs of norms and matrix products, attention weights and activated units are kept. `remat`
  reduces this to the results of matrix products ("dots"), or to the layers' inputs ("full"), plus
  what one layer needs while it is recomputed.
  """
  s, t = size, mesh["tensor"]
  rows = s.batch_size // (mesh["slices"] * mesh["data"] * mesh["fsdp"] * s.microbatches)
  target, source = (
    rows * length // mesh["sequence"] for length in (s.target_length, s.source_length)
  )
  d, width = s.features * s.dtype_bytes, s.num_heads * s.head_dim * s.dtype_bytes // t
  narrow = 2 * s.num_kv_heads * s.head_dim * s.dtype_bytes // t
  inner = s.feed_forward * s.dtype_bytes * (2 if s.gated else 1) // t
  activated = s.feed_forward * s.dtype_bytes * (2 if s.gated else 1) // t

  def weights(queries: int, keys: int) -> int:
    """Returns the bytes of attention weights, in float32 and cast to the compute dtype."""
    held = s.attention_rows or s.batch_size
    part = min(1.0, held * s.microbatches / s.batch_size)
    return int(part * queries * keys * s.num_heads * (FLOAT32 + s.dtype_bytes) // t)

  def layer(tokens: int, memory: int, memory_length: int, length: int) -> tuple[int, int, int]:
    """Returns a layer's bytes without remat, with remat "dots", and with remat "full"."""
    products = tokens * (width + narrow + d + inner + d)
    other = tokens * (4 * d + width + activated) + weights(tokens, length)
    if memory_length:
      products += tokens * (width + d) + memory * narrow
      other += tokens * (2 * d + width) + weights(tokens, memory_length)
    kept = tokens * d
    return products + other, products + kept, kept

  layers = [layer(target, source, s.source_length, s.target_length)] * s.decoder_layers
  if s.has_encoder:
    layers += [layer(source, 0, 0, s.source_length)] * s.encoder_layers
  which = {"none": 0, "dots": 1, "full": 2}[s.remat]
  held = sum(sizes[which] for sizes in layers)
  if which:
    held += max(sizes[0] for sizes in layers)
  logits = 2 * FLOAT32 * (target // s.loss_chunks) * s.target_vocab // t
  return held + logits


def _query(s: Size) -> int:
  return s.features * s.num_heads * s.head_dim


def _key_value(s: Size) -> int:
  return 2 * s.features * s.num_kv_heads * s.head_dim


def _out(s: Size) -> int:
  return s.num_heads * s.head_dim * s.features


def _feed_forward(s: Size) -> int:
  return (3 if s.gated else 2) * s.features * s.feed_forward

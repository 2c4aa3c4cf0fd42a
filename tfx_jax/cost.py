"""What a training step takes, by formulas: parameters, FLOPs, and bytes of activations.

Letters of sizes as in `layers/axes.py`. All is of the model and the batch as a whole but
`Cost.activation_bytes`, which is of one device.
"""

import dataclasses
from collections.abc import Mapping

# Of logits and of attention's weights, which are float32 whatever the compute dtype.
FLOAT32 = 4


@dataclasses.dataclass(frozen=True)
class Size:
  """A model and a batch, with the names of the configuration.

  Attributes:
    batch_size: B.
    source_length: S; 0 for a decoder alone.
    target_length: T.
    source_vocab: entries of the encoder's own embedding; 0 if it has none.
    target_vocab: V.
    dtype_bytes: of a number that is computed with.
    loss_chunks: pieces of the loss.
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
  max_positions: int
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
  def both(self) -> bool:
    """Whether there is an encoder."""
    return self.source_length > 0


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a step takes.

  Attributes:
    parameters: how many numbers.
    flops: of the products of a step, forward and backward, and what is computed again.
    activation_bytes: what a device holds for the backward pass at the most, and the logits.
  """

  parameters: int
  flops: int
  activation_bytes: int


def cost(size: Size, mesh: Mapping[str, int]) -> Cost:
  """What a step takes on a mesh of these sizes."""
  return Cost(count_parameters(size), flops(size), activation_bytes(size, mesh))


def count_parameters(size: Size) -> int:
  """How many numbers the model holds."""
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
  once += {"bucket": s.num_buckets * s.num_heads, "learned": s.max_positions * d}.get(s.position, 0)
  total = s.target_vocab * d + s.decoder_layers * layer + once
  if s.both:
    total += s.source_vocab * d + s.encoder_layers * layer + once
    total += s.decoder_layers * (attention + norms)
  total += s.target_vocab * (d * (not s.tie_output) + s.output_bias)
  return total + (d * d + 2 * d + 1 if s.copy_head else 0)


def flops(size: Size) -> int:
  """Of a step: two for each product of a pair of numbers, and twice as many going back.

  Attention is counted in full, as it is computed, whatever its mask hides.
  """
  s = size
  source, target = s.batch_size * s.source_length, s.batch_size * s.target_length
  projections = _query(s) + _key_value(s) + _out(s)
  encoder = decoder = 2 * (projections + _feed_forward(s))
  attention = s.decoder_layers * target * s.target_length
  layers = s.decoder_layers * target * decoder
  if s.both:
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
  """What a device holds for the backward pass, and one piece of the logits with its gradient.

  Inputs of norms and of products, attention's weights and activated units are kept; by `remat` only
  the products' results, or only a layer's input and what one layer needs while it is repeated.
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
    """The scores' softmax in float32, and what the product reads of it."""
    held = s.attention_rows or s.batch_size
    part = min(1.0, held * s.microbatches / s.batch_size)
    return int(part * queries * keys * s.num_heads * (FLOAT32 + s.dtype_bytes) // t)

  def layer(tokens: int, memory: int, memory_length: int, length: int) -> tuple[int, int, int]:
    """Bytes of what is kept without remat, with that of products, and with that of the input."""
    products = tokens * (width + narrow + d + inner + d)
    other = tokens * (4 * d + width + activated) + weights(tokens, length)
    if memory_length:
      products += tokens * (width + d) + memory * narrow
      other += tokens * (2 * d + width) + weights(tokens, memory_length)
    kept = tokens * d
    return products + other, products + kept, kept

  layers = [layer(target, source, s.source_length, s.target_length)] * s.decoder_layers
  if s.both:
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

"""Floating-point operations of a model, counted from its shapes.

A product of [m,k] and [k,n] has 2mkn operations. Only matrix products are counted: no norms, no
softmax, no optimizer. Only real tokens are counted: no padding, and only the unmasked part of
causal attention. So the count is the same for every system that does the same work; wasted
computation makes a system slower, but does not raise its count. The letters are those of
`tfx_jax/layers/axes.py`: D features, F inside feed-forward layers, V vocabulary, S and T tokens of
a source and a target, W beams.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
  """The sizes of a Transformer.

  Attributes:
    encoder_layers: number of encoder layers; 0 in a decoder-only model.
    decoder_layers: number of decoder layers.
    features: D.
    feed_forward: F.
    vocab_size: V.
    num_heads: N; the counts do not depend on it.
  """

  encoder_layers: int
  decoder_layers: int
  features: int
  feed_forward: int
  vocab_size: int
  num_heads: int

  @property
  def parameters(self) -> int:
    """Returns the number of entries of kernels and of one shared table; no biases or norms."""
    d, layer = self.features, 4 * self.features**2 + 2 * self.features * self.feed_forward
    cross = 4 * d**2 * (self.encoder_layers > 0)
    blocks = self.encoder_layers * layer + self.decoder_layers * (layer + cross)
    return blocks + self.vocab_size * d


def forward(shape: Shape, sources: np.ndarray, targets: np.ndarray) -> float:
  """Returns the operations of a forward pass, for pairs of `sources` [P] and `targets` [P] tokens.

  Per encoder layer and source token: 8 D^2 for the four projections of attention, 4 D F for the
  feed-forward layer, 4 S D for scores and weighted sums. Per decoder layer and target token: the
  same, with (T + 1) / 2 tokens seen on average, and for attention to the source 4 D^2 and 4 S D,
  and 4 D^2 for each source token. Per target token: 2 D V for the logits.
  """
  s, t = (np.asarray(lengths, np.float64) for lengths in (sources, targets))
  d, f = shape.features, shape.feed_forward
  layer = 8 * d**2 + 4 * d * f
  encoder = s * (layer + 4 * s * d)
  decoder = t * (layer + 2 * (t + 1) * d)
  if shape.encoder_layers:
    decoder = decoder + t * (4 * d**2 + 4 * s * d) + s * 4 * d**2
  each = shape.encoder_layers * encoder + shape.decoder_layers * decoder
  return float((each + t * 2 * d * shape.vocab_size).sum())


def training(shape: Shape, sources: np.ndarray, targets: np.ndarray) -> float:
  """Returns the operations of an update: each product needs two more of its size for gradients."""
  return 3 * forward(shape, sources, targets)


def decoding(shape: Shape, sources: np.ndarray, written: np.ndarray, width: int) -> float:
  """Returns the operations of a search that generates `written` [P] tokens with `width` beams.

  A source is encoded, and its keys and values computed, once for all beams. Each beam's token costs
  the same as a target token in the forward pass of training; the first token of a row is computed
  for one beam. A decoder-only model predicts the first token at the end of the source, of which no
  other logits are needed.
  """
  s, t = (np.asarray(lengths, np.float64) for lengths in (sources, written))
  none = np.zeros_like(s)
  if not shape.encoder_layers:
    read, whole = forward(shape, none, s), forward(shape, none, s + t - 1)
    unneeded = float((s - 1).sum()) * 2 * shape.features * shape.vocab_size
    return read - unneeded + width * (whole - read)
  of_source, first = forward(shape, s, none), forward(shape, s, np.ones_like(s))
  whole = forward(shape, s, t)
  return of_source + (first - of_source) + width * (whole - first)

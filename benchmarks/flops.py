"""How many floating-point operations a model needs, counted from its shapes.

A product of [m,k] and [k,n] is 2mkn operations. Products are all that is counted: not norms, not
the softmax, not the optimizer. Real tokens are all that is counted, too: no padding, and of causal
attention only what is seen. So the figure is the same for every system that does the same work, and
what a system computes in vain makes it slower, not busier. Letters are those of
`tfx_jax/layers/axes.py`: D features, F inside feed-forward layers, V vocabulary, S and T tokens of
a source and a target, W beams.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
  """The sizes of a Transformer.

  Attributes:
    encoder_layers: none in a model that is a decoder alone.
    decoder_layers: those that write.
    features: D.
    feed_forward: F.
    vocab_size: V.
    num_heads: N; no product's size depends on it.
  """

  encoder_layers: int
  decoder_layers: int
  features: int
  feed_forward: int
  vocab_size: int
  num_heads: int

  @property
  def parameters(self) -> int:
    """Entries of kernels and of one table that is shared by all; without biases and norms."""
    d, layer = self.features, 4 * self.features**2 + 2 * self.features * self.feed_forward
    cross = 4 * d**2 * (self.encoder_layers > 0)
    blocks = self.encoder_layers * layer + self.decoder_layers * (layer + cross)
    return blocks + self.vocab_size * d


def forward(shape: Shape, sources: np.ndarray, targets: np.ndarray) -> float:
  """Operations of reading pairs whose tokens number `sources` [P] and `targets` [P].

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
  """Operations of one update: each product has two more of its size for its two gradients."""
  return 3 * forward(shape, sources, targets)


def decoding(shape: Shape, sources: np.ndarray, written: np.ndarray, width: int) -> float:
  """Operations of a search that writes `written` [P] tokens with `width` beams each.

  A source is read, and its keys and values made, once for all beams. Each beam's token costs what a
  target token costs in training's forward pass; the first token of a row is one beam's. In a
  decoder alone the first is predicted where the source ends, and no other logits of it are needed.
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

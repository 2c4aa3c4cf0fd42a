"""Positions: absolute ones added to embeddings, rotary ones, and biases by distance.

Absolute and rotary kinds take `positions`, counted from 0 in each sequence. Biases take row
indices: within a packed sequence their differences are those of the positions.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tfx_jax.layers import axes


def sinusoidal(positions: jax.Array, features: int) -> jax.Array:
  """Sines then cosines of `positions` / 10000^(2i/D): [B,T] -> [B,T,D], D even.

  Vaswani et al. (2017, arXiv:1706.03762), section 3.5, with the two kinds in halves rather than
  interleaved.
  """
  half = features // 2
  rate = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = positions[..., None].astype(jnp.float32) * rate.reshape(1, 1, half)
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class LearnedPositions(nn.Module):
  """A learned vector for each position: [B,T] -> [B,T,D].

  Attributes:
    max_positions: how many there are; later positions would read the last one.
    features: D.
  """

  max_positions: int
  features: int

  @nn.compact
  def __call__(self, positions: jax.Array) -> jax.Array:
    shape = (self.max_positions, self.features)
    init = nn.initializers.normal(0.02)
    table = axes.param(self, "embedding", init, shape, (None, axes.EMBED))
    return jnp.take(table, positions, axis=0, mode="clip")


@dataclasses.dataclass(frozen=True)
class RotaryScaling:
  """Slower rotation, for longer texts than a model was first trained on.

  Attributes:
    factor: what the rates of slow pairs are divided by.
    low: pairs that turn at most so often within `length` positions are slow.
    high: pairs that turn more often than this keep their rate, and between the two it is in
      between: Llama 3.1's rule (Grattafiori et al. 2024, arXiv:2407.21783; as transformers has it).
    length: of texts of the first training; 0: all pairs are slow (Chen et al. 2023,
      arXiv:2306.15595).
  """

  factor: float
  low: float = 1.0
  high: float = 4.0
  length: float = 0.0

  def __call__(self, rates: np.ndarray) -> np.ndarray:
    """The scaled rates, in radians a position."""
    if not self.length:
      return rates / self.factor
    turns = self.length * rates / (2 * np.pi)
    kept = np.clip((turns - self.low) / (self.high - self.low), 0.0, 1.0)
    return rates * (kept + (1 - kept) / self.factor)


def rotate(
  x: jax.Array,
  positions: jax.Array,
  base: float = 10_000.0,
  scaling: RotaryScaling | None = None,
) -> jax.Array:
  """Rotary positions (Su et al. 2021, arXiv:2104.09864) on heads x [B,T,…,H], H even.

  Pairs are (i, i + H/2), as in GPT-NeoX and Llama; pair i turns by base^(-2i/H) at each position.
  """
  half = x.shape[-1] // 2
  rate = base ** (-np.arange(half, dtype=np.float32) / half)
  rate = (rate if scaling is None else scaling(rate)).astype(np.float32)
  angle = positions[..., None].astype(jnp.float32) * rate.reshape(1, 1, half)
  angle = angle.reshape(*positions.shape, *(1,) * (x.ndim - 3), half)
  sin, cos = jnp.sin(angle), jnp.cos(angle)
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  rotated = [first * cos - second * sin, second * cos + first * sin]
  return jnp.concatenate(rotated, axis=-1).astype(x.dtype)


def within(
  window: jax.Array, query: jax.Array, key: jax.Array, bias: jax.Array | None
) -> jax.Array:
  """A bias by which queries see `window` places back at most, their own counted.

  Args:
    window: int32 [].
    query: row indices [T].
    key: row indices [S].
    bias: what is added to scores beside that, [1,N,T,S], or None.

  Returns:
    [1,N,T,S], or [1,1,T,S] without a bias; of what is not seen the lowest number by halves, so that
    a sum with it is finite.
  """
  seen = query[:, None] - key[None, :] < window
  bias = jnp.zeros((1, 1, 1, 1), jnp.float32) if bias is None else bias.astype(jnp.float32)
  return jnp.where(seen[None, None], bias, jnp.finfo(jnp.float32).min / 2)


class AlibiBias(nn.Module):
  """Attention with linear biases (Press et al. 2021, arXiv:2108.12409): [T], [S] -> [1,N,T,S].

  Head n of N has slope 2^(-8n/N); for N no power of two, the slopes of the next lower power are
  followed by every second one of the next higher. In a bidirectional stack the distance counts
  both ways.

  Attributes:
    num_heads: N.
  """

  num_heads: int

  def __call__(self, query_index: jax.Array, key_index: jax.Array) -> jax.Array:
    distance = jnp.abs(key_index[None, :] - query_index[:, None]).astype(jnp.float32)
    slopes = jnp.asarray(alibi_slopes(self.num_heads), jnp.float32)
    return -slopes.reshape(1, -1, 1, 1) * distance[None, None]


def alibi_slopes(num_heads: int) -> list[float]:
  """Slopes of the heads, steepest first within each power of two."""
  power = 2 ** math.floor(math.log2(num_heads))
  slopes = [2.0 ** (-8 * (n + 1) / power) for n in range(power)]
  more = [2.0 ** (-8 * (n + 1) / (2 * power)) for n in range(0, 2 * power, 2)]
  return slopes + more[: num_heads - power]


class BucketBias(nn.Module):
  """A learned bias per head and bucket of distance (Raffel et al. 2020, arXiv:1910.10683, 2.1).

  Half of the buckets hold one distance each, the other half grow logarithmically up to
  `max_distance`: [T], [S] -> [1,N,T,S].

  Attributes:
    num_heads: N.
    bidirectional: whether earlier and later keys have buckets of their own.
    num_buckets: buckets in all.
    max_distance: from here on all distances share the last bucket.
  """

  num_heads: int
  bidirectional: bool
  num_buckets: int = 32
  max_distance: int = 128

  @nn.compact
  def __call__(self, query_index: jax.Array, key_index: jax.Array) -> jax.Array:
    init = nn.initializers.normal(0.02)
    shape = (self.num_buckets, self.num_heads)
    table = axes.param(self, "embedding", init, shape, (None, axes.HEADS))
    bucket = self.bucket(key_index[None, :] - query_index[:, None])
    return jnp.moveaxis(table[bucket], -1, 0)[None]

  def bucket(self, offset: jax.Array) -> jax.Array:
    """The bucket of key index minus query index."""
    count, start = self.num_buckets, 0
    if self.bidirectional:
      count //= 2
      start = jnp.where(offset > 0, count, 0)
      distance = jnp.abs(offset)
    else:
      distance = jnp.maximum(-offset, 0)
    exact = count // 2
    ratio = jnp.maximum(distance, 1).astype(jnp.float32) / exact
    log_bucket = jnp.log(ratio) / math.log(self.max_distance / exact) * (count - exact)
    far = jnp.minimum(exact + log_bucket.astype(jnp.int32), count - 1)
    return start + jnp.where(distance < exact, distance, far)

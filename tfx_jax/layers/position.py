"""Positions: absolute ones added to embeddings, rotary ones, and relative attention biases.

Absolute and rotary kinds take `positions`, counted from 0 in each sequence. Biases take indices in
the row: within a packed sequence, their differences equal those of the positions. Pictures, which
are read row by row, may have positions in two dimensions, see `Grid`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tfx_jax.layers import axes


def sinusoidal(positions: jax.Array, features: int) -> jax.Array:
  """Returns sines, then cosines, of `positions` / 10000^(2i/D): [B,T] -> [B,T,D], D even.

  Vaswani et al. (2017, arXiv:1706.03762), section 3.5, except that they interleave the two.
  """
  half = features // 2
  rate = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
  # [B,T] -> [B,T,D/2] -> [B,T,D]
  angle = positions[..., None].astype(jnp.float32) * rate.reshape(1, 1, half)
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class LearnedPositions(nn.Module):
  """A learned vector for each position: [B,T] -> [B,T,D].

  Attributes:
    max_positions: number of vectors; later positions get the last one.
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
class Grid:
  """Patches of a picture, read row by row.

  Attributes:
    rows: number of rows; the end of a picture, behind its last patch, is in a row of its own.
    columns: number of columns.
  """

  rows: int
  columns: int

  def __call__(self, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the row and the column of positions that are counted from 0 in the picture."""
    return jnp.minimum(positions // self.columns, self.rows), positions % self.columns


class LearnedGrid(nn.Module):
  """A learned vector for each row and for each column, added up: [B,T] -> [B,T,D].

  Attributes:
    grid: the patches.
    features: D.
  """

  grid: Grid
  features: int

  def setup(self):
    self.rows = LearnedPositions(self.grid.rows + 1, self.features)
    self.columns = LearnedPositions(self.grid.columns, self.features)

  def __call__(self, positions: jax.Array) -> jax.Array:
    row, column = self.grid(positions)
    return self.rows(row) + self.columns(column)


def patches_before(is_patch: jax.Array, positions: jax.Array) -> jax.Array:
  """Returns how many patches were read in each sequence up to each of its positions, int32 [B,T].

  Where patches are decoder inputs, this is the position of the next one in its picture.

  Args:
    is_patch: bool [B,T], whether an input is a patch of a picture.
    positions: int32 [B,T], from 0 in each packed sequence; no sequence begins with a patch.
  """
  count = jnp.cumsum(is_patch, axis=1, dtype=jnp.int32)
  start = jax.lax.cummax(jnp.where(positions == 0, count, 0), axis=1)
  return count - start


@dataclasses.dataclass(frozen=True)
class RotaryScaling:
  """Slower rotation, for longer texts than a model was first trained on.

  Attributes:
    factor: divisor of the rates of slow pairs.
    low: pairs that turn at most `low` times within `length` positions are slow.
    high: pairs that turn at least `high` times keep their rate; between the two, the rate is
      interpolated. Llama 3.1's rule (Grattafiori et al. 2024, arXiv:2407.21783; as implemented in
      Hugging Face transformers).
    length: length of texts in the first training; 0: all pairs are slow (Chen et al. 2023,
      arXiv:2306.15595).
  """

  factor: float
  low: float = 1.0
  high: float = 4.0
  length: float = 0.0

  def __call__(self, rates: np.ndarray) -> np.ndarray:
    """Scales rates, in radians per position."""
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
  grid: Grid | None = None,
) -> jax.Array:
  """Rotates heads x [B,T,…,H] by their positions [B,T] (Su et al. 2021, arXiv:2104.09864); H even.

  Pairs are (i, i + H/2), as in GPT-NeoX and Llama; pair i turns by base^(-2i/H) radians per
  position. With a grid, the first half of the pairs turns with the row and the second with the
  column, pair i of each half by base^(-4i/H); H is then a multiple of 4.
  """
  half = x.shape[-1] // 2
  turning = (positions,) if grid is None else grid(positions)
  count = half // len(turning)
  rate = base ** (-np.arange(count, dtype=np.float32) / count)
  rate = (rate if scaling is None else scaling(rate)).astype(np.float32)
  angle = jnp.concatenate(
    [x[..., None].astype(jnp.float32) * rate.reshape(1, 1, count) for x in turning], axis=-1
  )  # [B,T] -> [B,T,H/2]
  angle = angle.reshape(*positions.shape, *(1,) * (x.ndim - 3), half)  # [B,T,H/2] -> [B,T,…,H/2]
  sin, cos = jnp.sin(angle), jnp.cos(angle)
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  rotated = [first * cos - second * sin, second * cos + first * sin]
  return jnp.concatenate(rotated, axis=-1).astype(x.dtype)


def limit_to_window(
  window: jax.Array, query: jax.Array, key: jax.Array, bias: jax.Array | None
) -> jax.Array:
  """Returns a bias that hides keys `window` or more places before the query.

  Args:
    window: int32 scalar; 1 leaves the query itself.
    query: row indices [T].
    key: row indices [S].
    bias: another bias of the scores, [1,N,T,S], or None.

  Returns:
    both biases as one, [1,N,T,S], or [1,1,T,S] without the other; for hidden keys half of float32's
    minimum, so that adding scores stays finite.
  """
  visible = query[:, None] - key[None, :] < window  # [T,S]
  bias = jnp.zeros((1, 1, 1, 1), jnp.float32) if bias is None else bias.astype(jnp.float32)
  return jnp.where(visible[None, None], bias, jnp.finfo(jnp.float32).min / 2)


class AlibiBias(nn.Module):
  """Attention with linear biases (Press et al. 2021, arXiv:2108.12409): [T], [S] -> [1,N,T,S].

  Head n of N has slope 2^(-8n/N). If N is not a power of two, the slopes for the next lower power
  of two come first, then every second one of those for the next higher. In a bidirectional stack
  the distance counts in both directions.

  Attributes:
    num_heads: N.
  """

  num_heads: int

  def __call__(self, query_index: jax.Array, key_index: jax.Array) -> jax.Array:
    distance = jnp.abs(key_index[None, :] - query_index[:, None]).astype(jnp.float32)
    slopes = jnp.asarray(alibi_slopes(self.num_heads), jnp.float32)
    return -slopes.reshape(1, -1, 1, 1) * distance[None, None]  # [1,N,1,1] * [1,1,T,S]


def alibi_slopes(num_heads: int) -> list[float]:
  """Returns the slope of each head, steepest first within each power of two."""
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
    bidirectional: whether earlier and later keys have separate buckets.
    num_buckets: number of buckets in all.
    max_distance: distance from which on all share the last bucket.
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
    return jnp.moveaxis(table[bucket], -1, 0)[None]  # [T,S] -> [T,S,N] -> [1,N,T,S]

  def bucket(self, offset: jax.Array) -> jax.Array:
    """Returns the bucket of each offset, key index minus query index."""
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

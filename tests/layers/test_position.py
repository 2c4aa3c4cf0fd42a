"""Positions against their formulas, complex numbers and tables worked out by hand."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tfx_jax.layers.position import (
  AlibiBias,
  BucketBias,
  Grid,
  LearnedGrid,
  LearnedPositions,
  RotaryScaling,
  alibi_slopes,
  patches_before,
  rotate,
  sinusoidal,
)


def test_sinusoids_follow_the_formula():
  positions = np.array([[0, 1, 2, 3], [5, 500, 0, 17]])
  y = np.asarray(sinusoidal(jnp.asarray(positions), 12))
  assert y.shape == (2, 4, 12)
  for place, position in np.ndenumerate(positions):
    for i in range(6):
      angle = position / 10_000 ** (2 * i / 12)
      assert math.isclose(y[place][i], math.sin(angle), abs_tol=1e-4)
      assert math.isclose(y[place][6 + i], math.cos(angle), abs_tol=1e-4)


def test_learned_positions_are_rows_of_a_table_and_later_ones_the_last():
  layer, positions = LearnedPositions(5, 3), jnp.asarray([[0, 4, 2], [3, 5, 99]])
  y, params = layer.init_with_output(jax.random.key(0), positions)
  table = np.asarray(params["params"]["embedding"].value)
  np.testing.assert_array_equal(y, table[[[0, 4, 2], [3, 4, 4]]])
  assert len(np.unique(table)) == 15


def test_rotation_is_complex_multiplication():
  rng = np.random.default_rng(0)
  x, positions = rng.normal(size=(2, 3, 2, 4, 8)), np.array([[0, 1, 2], [7, 100, 31]])
  y = np.asarray(rotate(jnp.asarray(x, jnp.float32), jnp.asarray(positions)))
  assert y.shape == x.shape
  for i in range(4):
    turn = np.exp(1j * positions / 10_000 ** (2 * i / 8))[:, :, None, None]
    z = (x[..., i] + 1j * x[..., i + 4]) * turn
    np.testing.assert_allclose(y[..., i], z.real, atol=1e-4)
    np.testing.assert_allclose(y[..., i + 4], z.imag, atol=1e-4)
  again = rotate(jnp.asarray(x[:, :, 0], jnp.float32), jnp.asarray(positions))
  np.testing.assert_allclose(again, y[:, :, 0], atol=1e-6)


def test_rotated_products_depend_on_differences_only():
  rng = np.random.default_rng(1)
  query, key = (jnp.asarray(rng.normal(size=(1, 1, 1, 16)), jnp.float32) for _ in range(2))

  def product(m, n):
    rotated = (rotate(x, jnp.asarray([[p]])) for x, p in ((query, m), (key, n)))
    return float(jnp.vdot(*rotated))

  for m, n in ((3, 1), (0, 5), (9, 9)):
    for shift in (1, 40, 300):
      assert math.isclose(product(m, n), product(m + shift, n + shift), abs_tol=1e-3)
  assert abs(product(3, 1) - product(1, 3)) > 0.1, "direction makes no difference"


def test_rotation_has_its_base_and_keeps_the_dtype():
  x = jnp.ones((1, 1, 1, 4), jnp.bfloat16)
  assert rotate(x, jnp.asarray([[3]])).dtype == jnp.bfloat16
  y = rotate(x.astype(jnp.float32), jnp.asarray([[3]]), base=100.0)
  np.testing.assert_allclose(y[0, 0, 0, 1], math.cos(0.3) - math.sin(0.3), rtol=1e-5)


def test_alibi_slopes():
  """Of eight heads as printed in the paper, section 3; of twelve as in its authors' code."""
  eight = [2.0**-n for n in range(1, 9)]
  assert alibi_slopes(8) == eight
  assert alibi_slopes(1) == [2.0**-8]
  assert alibi_slopes(12) == pytest.approx([*eight, 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])


def test_alibi_falls_with_the_distance_both_ways():
  bias = np.asarray(AlibiBias(2).apply({}, jnp.asarray([1, 2]), jnp.arange(4)))
  distance = np.array([[1, 0, 1, 2], [2, 1, 0, 1]])
  np.testing.assert_allclose(bias, -np.stack([distance / 16, distance / 256])[None], rtol=1e-6)


def exact_bucket(offset, bidirectional, num_buckets, max_distance):
  """The definition in whole numbers: no logarithm, nothing rounded."""
  start, distance = 0, max(-offset, 0)
  if bidirectional:
    num_buckets //= 2
    start, distance = num_buckets * (offset > 0), abs(offset)
  exact = num_buckets // 2
  if distance < exact:
    return start + distance
  steps, step = num_buckets - exact, 0
  while step + 1 < steps and Fraction(distance, exact) ** steps >= Fraction(
    max_distance, exact
  ) ** (step + 1):
    step += 1
  return start + exact + step


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 16), (64, 256)])
def test_buckets_equal_the_definition_in_whole_numbers(bidirectional, buckets, furthest):
  """Also where a power of two falls on the edge of a bucket, compiled or not."""
  bias, offset = BucketBias(2, bidirectional, buckets, furthest), np.arange(-300, 301)
  expected = [exact_bucket(int(o), bidirectional, buckets, furthest) for o in offset]
  for bucket in (bias.bucket, jax.jit(bias.bucket)):
    np.testing.assert_array_equal(bucket(jnp.asarray(offset)), expected)


def test_buckets_worked_out_by_hand():
  """T5's 32 buckets, both directions: 8 single ones, then edges at 8, 11.3, 16, 22.6, 32 … 90.5."""
  bias = BucketBias(2, bidirectional=True)
  table = {0: 0, -1: 1, -7: 7, -8: 8, -11: 8, -12: 9, -16: 10, -23: 11, -64: 14, -90: 14, -91: 15}
  table |= {-128: 15, -5000: 15, 1: 17, 7: 23, 8: 24, 12: 25, 91: 31, 5000: 31}
  assert bias.bucket(jnp.asarray(list(table))).tolist() == list(table.values())
  one_way = BucketBias(2, bidirectional=False)
  table = {0: 0, 1: 0, 9: 0, -15: 15, -16: 16, -18: 16, -19: 17, -64: 26, -112: 30, -113: 31}
  assert one_way.bucket(jnp.asarray(list(table))).tolist() == list(table.values())


def test_bucket_bias_reads_its_table():
  layer = BucketBias(3, bidirectional=True, num_buckets=8, max_distance=16)
  index = jnp.arange(2), jnp.arange(3)
  bias, params = layer.init_with_output(jax.random.key(0), *index)
  table = np.asarray(params["params"]["embedding"].value)
  assert bias.shape == (1, 3, 2, 3)
  np.testing.assert_array_equal(bias[0, :, 0], table[[0, 5, 6]].T)
  np.testing.assert_array_equal(bias[0, :, 1], table[[1, 0, 5]].T)


def test_rotation_is_slowed_for_all_pairs_or_for_slow_ones():
  rates = np.array([2.0, 0.5, 0.1, 0.01])
  np.testing.assert_allclose(RotaryScaling(4.0)(rates), rates / 4)
  # Within 16 positions they turn 5.1, 1.27, 0.25 and 0.025 times.
  scaled = RotaryScaling(4.0, 1.0, 4.0, 16.0)(rates)
  kept = (16 * 0.5 / (2 * np.pi) - 1) / 3
  expected = [2.0, 0.5 * kept + 0.125 * (1 - kept), 0.1 / 4, 0.01 / 4]
  np.testing.assert_allclose(scaled, expected)
  x, positions = np.ones((1, 3, 2, 8), np.float32), jnp.asarray([[0, 4, 8]])
  slow = rotate(x, positions, scaling=RotaryScaling(4.0))
  np.testing.assert_allclose(slow, rotate(x, positions // 4), atol=1e-6)


GRID = Grid(3, 4)


def test_a_grid_is_read_row_by_row_and_its_end_has_a_row_of_its_own():
  row, column = GRID(jnp.arange(14)[None])
  assert row.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]]
  assert column.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1]]


def test_half_of_the_pairs_turn_with_the_row_and_half_with_the_column():
  x = np.random.default_rng(0).normal(size=(1, 12, 2, 8)).astype(np.float32)
  found = np.asarray(rotate(jnp.asarray(x), jnp.arange(12)[None], 100.0, grid=GRID))
  pairs = x[..., :4].astype(np.float64) + 1j * x[..., 4:]
  row, column = np.divmod(np.arange(12), 4)
  angle = np.stack([row, row * 100**-0.5, column, column * 100**-0.5], axis=-1)
  turned = pairs * np.exp(1j * angle)[None, :, None]
  assert np.allclose(found[..., :4] + 1j * found[..., 4:], turned, atol=1e-5)
  # At 0, as in front of a picture, nothing is turned, and nothing becomes 0.
  assert np.array_equal(found[:, 0], x[:, 0])


def test_learned_rows_and_columns_are_added():
  module = LearnedGrid(GRID, 5)
  positions = jnp.asarray([[0, 5, 11, 12]])
  params = nn.unbox(module.init(jax.random.key(0), positions))["params"]
  rows, columns = (params[name]["embedding"] for name in ("rows", "columns"))
  assert rows.shape == (4, 5) and columns.shape == (4, 5)
  expected = [rows[r] + columns[c] for r, c in ((0, 0), (1, 1), (2, 3), (3, 0))]
  assert np.allclose(module.apply({"params": params}, positions)[0], np.stack(expected))


def test_patches_are_counted_in_each_sequence():
  rng = np.random.default_rng(0)
  lengths = [[5, 4, 3], [12], [1, 1, 9]]
  positions = np.zeros((3, 12), np.int32)
  for row, each in enumerate(lengths):
    positions[row, : sum(each)] = np.concatenate([np.arange(n) for n in each])
  is_patch = rng.random((3, 12)) < 0.5
  is_patch[positions == 0] = False
  expected = np.zeros_like(positions)
  for row, column in np.ndindex(*positions.shape):
    first = column - positions[row, column]
    expected[row, column] = is_patch[row, first : column + 1].sum()
  assert np.array_equal(patches_before(jnp.asarray(is_patch), jnp.asarray(positions)), expected)

import time

import numpy as np
import pytest

from tfx_jax.data.plan import WINDOW, plan


def caption_lengths(count, seed=0):
  """Source and target lengths like those of translated captions: mean 15, long tail, correlated."""
  rng = np.random.default_rng(seed)
  source = rng.gamma(8, 15 / 8, count)
  target = source * rng.normal(1.05, 0.2, count)
  return np.clip(np.stack([source, target], axis=1).round(), 3, 64).astype(np.int32)


def any_lengths(count, source_length, target_length, seed=0):
  """Uncorrelated, up to full rows on either side."""
  rng = np.random.default_rng(seed)
  return rng.integers(1, [source_length + 1, target_length + 1], (count, 2)).astype(np.int32)


@pytest.mark.parametrize("count", [1, 2, WINDOW, 2 * WINDOW + 300])
@pytest.mark.parametrize("shape", [(64, 64), (16, 50), (7, 3)])
def test_each_pair_is_in_one_row_and_no_row_is_over_full(count, shape):
  lengths = any_lengths(count, *shape)
  result = plan(0, 0, lengths, *shape)
  assert sorted(result.order) == list(range(count))
  assert (result.offsets[0], result.offsets[-1]) == (0, count)
  rows = [result.row(number) for number in range(len(result))]
  assert all(len(row) for row in rows)
  assert np.concatenate(rows).tolist() == result.order.tolist()
  assert all((lengths[row].sum(axis=0) <= shape).all() for row in rows)


def test_pairs_as_long_as_a_row_fill_it():
  result = plan(0, 0, np.full((9, 2), (5, 7)), 5, 7)
  assert len(result) == 9
  assert len(plan(0, 0, np.full((9, 2), (5, 7)), 15, 21)) == 3


def test_rows_depend_on_seed_and_epoch_alone():
  lengths = caption_lengths(3000)

  def rows(seed, epoch):
    result = plan(seed, epoch, lengths, 64, 64)
    return [tuple(result.row(number)) for number in range(len(result))]

  assert rows(1, 2) == rows(1, 2)
  assert len({tuple(rows(*key)) for key in [(1, 2), (1, 3), (2, 2), (2, 1)]}) == 4
  # Not only another order of the same rows.
  assert len(set(rows(1, 2)) & set(rows(1, 3))) < len(rows(1, 2)) / 10


def test_rows_are_in_random_order():
  lengths = caption_lengths(2 * WINDOW)
  result = plan(0, 0, lengths, 64, 64)
  longest = [lengths[result.row(number)].max() for number in range(len(result))]
  place = np.corrcoef(longest, np.arange(len(longest)))[0, 1]
  assert abs(place) < 0.2


def test_rows_of_captions_are_dense():
  lengths = caption_lengths(6000)
  assert 14 < lengths.mean() < 17
  source, target = lengths.sum(axis=0) / (64 * len(plan(0, 0, lengths, 64, 64)))
  assert source >= 0.88
  assert target >= 0.95


def best_fit_decreasing(lengths, source_length, target_length):
  """The definition, with a look at every row for every pair."""
  shares = lengths / [source_length, target_length]
  left, rows = [], []
  for pair in np.argsort(-shares.max(axis=1), kind="stable"):
    fits = [
      (free.sum(), row) for row, free in enumerate(left) if (free - shares[pair] > -1e-9).all()
    ]
    row = min(fits)[1] if fits else len(rows)
    if row == len(rows):
      left.append(np.ones(2))
      rows.append([])
    left[row] = left[row] - shares[pair]
    rows[row].append(pair)
  return rows


def test_a_window_is_packed_best_fit_decreasing():
  # With row lengths that are powers of two, the definition's shares are exact.
  lengths = any_lengths(300, 16, 32) // 3 + 1
  order = np.random.default_rng([4, 5]).permutation(300)
  expected = best_fit_decreasing(lengths[order], 16, 32)
  result = plan(4, 5, lengths, 16, 32)
  rows = {tuple(result.row(number)) for number in range(len(result))}
  assert rows == {tuple(order[row]) for row in expected}


def test_a_plan_for_many_pairs_is_quick():
  lengths = caption_lengths(100_000)
  start = time.process_time()
  plan(0, 0, lengths, 64, 64)
  assert time.process_time() - start < 5

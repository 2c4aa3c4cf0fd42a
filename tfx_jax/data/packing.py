"""Packing: which sequences share a row, and how a row becomes arrays. Pure NumPy.

`plan` is a function of (seed, epoch, lengths) alone, so any process can compute any epoch and a
resumed run needs to remember a position, not a state.
"""

import bisect
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfx_jax.codecs.special_tokens import DEFAULT, SpecialTokens
from tfx_jax.data.chains import Pair, unroll

# Pairs that are packed together: enough to fill rows well, few enough to keep epochs random.
WINDOW = 1024


class Plan(NamedTuple):
  """Rows of one epoch: row r holds the pairs `order[offsets[r]:offsets[r+1]]`."""

  order: np.ndarray
  offsets: np.ndarray

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def row(self, number: int) -> np.ndarray:
    """Numbers of the pairs in a row."""
    return self.order[self.offsets[number] : self.offsets[number + 1]]


def plan(
  seed: int, epoch: int, lengths: np.ndarray, source_length: int, target_length: int
) -> Plan:
  """Distributes all pairs over rows, in an order of this epoch's own.

  Within windows of a random order, pairs are placed from the longest to the shortest into the row
  they fill best (best-fit decreasing); then the rows are shuffled. Each pair is in one row.

  Args:
    seed: of the run.
    epoch: counted from 0.
    lengths: int [N,2], tokens of each source and target, none longer than a row.
    source_length: source tokens of a row.
    target_length: target tokens of a row.
  """
  rng = np.random.default_rng([seed, epoch])
  order = rng.permutation(len(lengths))
  capacity = np.array([source_length, target_length])
  pairs, sizes = [], []
  for start in range(0, len(order), WINDOW):
    rows = _best_fit_decreasing(order[start : start + WINDOW], lengths, capacity)
    # Arrays, because the lists of all windows would be ten times as large.
    pairs.append(np.fromiter(itertools.chain.from_iterable(rows), np.int64))
    sizes.append(np.fromiter(map(len, rows), np.int64))
  return _shuffled(np.concatenate(pairs), np.concatenate(sizes), rng)


def _shuffled(pairs: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Plan:
  """The plan of rows of so many `pairs` each, one after the other, put into a random order."""
  rows = rng.permutation(len(sizes))
  starts = (np.cumsum(sizes) - sizes)[rows]
  offsets = np.concatenate([[0], np.cumsum(sizes[rows])])
  places = np.repeat(starts - offsets[:-1], sizes[rows]) + np.arange(len(pairs))
  return Plan(pairs[places], offsets)


def _best_fit_decreasing(
  pairs: np.ndarray, lengths: np.ndarray, capacity: np.ndarray
) -> list[list[int]]:
  # Lengths in units of which both a row's S and its T make S * T: exact integers, comparable.
  full = int(capacity.prod())
  sizes = lengths[pairs] * capacity[::-1]
  by_size = np.argsort(-sizes.max(axis=1), kind="stable")
  rows: list[list[int]] = []
  # What is left of each row: (sum, row, source, target), ascending, so the first fit is the best.
  left: list[tuple[int, int, int, int]] = []
  for pair, (source, target) in zip(pairs[by_size].tolist(), sizes[by_size].tolist(), strict=True):
    for place in range(bisect.bisect_left(left, (source + target,)), len(left)):
      if left[place][2] >= source and left[place][3] >= target:
        _, row, source_left, target_left = left.pop(place)
        break
    else:
      row, source_left, target_left = len(rows), full, full
      rows.append([])
    rows[row].append(pair)
    source_left, target_left = source_left - source, target_left - target
    bisect.insort(left, (source_left + target_left, row, source_left, target_left))
  return rows


def pack(
  sources: Sequence[Sequence[np.ndarray]],
  targets: Sequence[Sequence[np.ndarray]],
  source_length: int,
  target_length: int,
  special_tokens: SpecialTokens = DEFAULT,
) -> dict[str, np.ndarray]:
  """Lays rows of sequences out as a batch.

  Args:
    sources: for each row, its source sequences of token ids, special_tokens included.
    targets: for each row, its target sequences, in the same order.
    source_length: S.
    target_length: T.
    special_tokens: of targets.

  Returns:
    int32 `inputs`, `inputs_segments`, `inputs_positions` [B,S]; `decoder_inputs`, `targets`,
    `targets_segments`, `targets_positions` [B,T]; float32 `weights` [B,T]. Each target is shifted
    by itself: its first decoder input is BOS, whatever came before it in the row. What all targets
    begin with has no weight.
  """
  inputs, segments, positions = lay_out(sources, source_length)
  read = {"inputs": inputs, "inputs_segments": segments, "inputs_positions": positions}
  arrays = decoder_arrays(_shifted(targets, special_tokens), targets, target_length)
  arrays["weights"] *= arrays["targets_positions"] >= len(special_tokens.prefix)
  return read | arrays


def pack_sequences(
  rows: Sequence[Sequence[Sequence[Pair]]], length: int, special_tokens: SpecialTokens = DEFAULT
) -> dict[str, np.ndarray]:
  """Lays rows of sequences out for a decoder alone, each source before its target.

  Args:
    rows: for each row, its chains of sources and targets, see `chains`; a source may be empty.
    length: T.
    special_tokens: of sources and targets, which have the same.

  Returns:
    `decoder_inputs`, `targets`, `targets_segments`, `targets_positions` and `weights` [B,T], as
    those of `pack`; sources are predicted too, but without weight.
  """
  unrolled = [[unroll(chain) for chain in row] for row in rows]
  tokens, predicted, weights = ([[s[i] for s in row] for row in unrolled] for i in range(3))
  arrays = decoder_arrays(_shifted(tokens, special_tokens), predicted, length)
  return arrays | {"weights": lay_out(weights, length)[0].astype(np.float32)}


def decoder_arrays(
  inputs: Sequence[Sequence[np.ndarray]], targets: Sequence[Sequence[np.ndarray]], length: int
) -> dict[str, np.ndarray]:
  """What a decoder reads and is to predict in rows of `length`, all of it with weight.

  Args:
    inputs: for each row, the tokens that each of its targets is predicted from, one by one.
    targets: for each row, its target sequences, of the same lengths.
    length: T.

  Returns:
    `decoder_inputs`, `targets`, `targets_segments`, `targets_positions`, `weights` [B,T].
  """
  tokens, segments, positions = lay_out(targets, length)
  return {
    "decoder_inputs": lay_out(inputs, length)[0],
    "targets": tokens,
    "targets_segments": segments,
    "targets_positions": positions,
    "weights": (segments > 0).astype(np.float32),
  }


def _shifted(
  rows: Sequence[Sequence[np.ndarray]], special_tokens: SpecialTokens
) -> list[list[np.ndarray]]:
  """Each sequence with BOS in front and without its last token."""
  return [[np.concatenate([[special_tokens.bos], tokens[:-1]]) for tokens in row] for row in rows]


def lay_out(rows: Sequence[Sequence[np.ndarray]], length: int) -> np.ndarray:
  """Tokens, segments from 1 and positions from 0, int32 [3,B,length], zeros where padded."""
  out = np.zeros((3, len(rows), length), np.int32)
  for number, row in enumerate(rows):
    start = 0
    for segment, tokens in enumerate(row, 1):
      end = start + len(tokens)
      out[0, number, start:end] = tokens
      out[1, number, start:end] = segment
      out[2, number, start:end] = np.arange(len(tokens))
      start = end
  return out

"""The sentences that all systems read: one tokenisation, the same pairs in each round.

Ours reads them packed, the peers padded. The pairs of a round's updates are given to the peers
sorted by length and cut into as many batches of equally many real target tokens, each padded to its
own longest source and target: less padding than with the usual length buckets, and real tokens per
update equal but for a sentence.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# Most that real target tokens per update may differ between two systems.
TOLERANCE = 0.02


class Lengths(NamedTuple):
  """Real tokens of each pair, marks included, by update: lists of int arrays [P]."""

  sources: list[np.ndarray]
  targets: list[np.ndarray]


def write_batches(folder: str, config: Any, updates: int, per_round: int) -> tuple[Lengths, int]:
  """Tokenises the training data and writes the batches of so many updates, packed and padded.

  Args:
    folder: where tokenizer, configuration, `packed.npz` and `padded.npz` are written.
    config: ours.
    updates: in all.
    per_round: those whose pairs are the same for all systems; a divisor of `updates`.

  Returns:
    the lengths of the pairs of our updates, and V.
  """
  from tfx_jax import builders
  from tfx_jax.config import files as config_files

  config_files.write_config(folder, config)
  tokenizers = builders.make_tokenizers(config, folder)
  layout = builders.make_layout(config, tokenizers)
  rows = layout.epoch(builders.make_corpus(config, "train", tokenizers), config.seed, 0)
  size, packed, pairs = config.data.batch_size, {}, []
  for update in range(updates):
    numbers = np.arange(update * size, (update + 1) * size) % len(rows)
    taken = [rows[number] for number in numbers]
    for name, array in layout.arrays(taken).items():
      packed[f"{update}/{name}"] = array
    pairs.append([pair for row in taken for pair in zip(*row, strict=True)])
  padded = {}
  for first in range(0, updates, per_round):
    together = [pair for update in pairs[first : first + per_round] for pair in update]
    for number, batch in enumerate(length_sorted(together, per_round), first):
      for name, side in zip(("sources", "targets"), zip(*batch, strict=True), strict=True):
        padded[f"{number}/{name}"] = pad(side)
  np.savez(os.path.join(folder, "packed.npz"), **packed)
  np.savez(os.path.join(folder, "padded.npz"), **padded)
  sides = (
    [np.array([len(pair[side]) for pair in update]) for update in pairs] for side in range(2)
  )
  return Lengths(*sides), tokenizers[1].vocab_size


def length_sorted(pairs: Sequence[tuple], parts: int) -> list[list[tuple]]:
  """Pairs of similar length together, in parts of equally many target tokens but for one pair."""
  ordered = sorted(pairs, key=lambda pair: (max(map(len, pair)), len(pair[1]), len(pair[0])))
  ends = np.cumsum([len(target) for _, target in ordered])
  cuts = [int(np.abs(ends - ends[-1] * part / parts).argmin()) + 1 for part in range(1, parts)]
  return [ordered[a:b] for a, b in zip([0, *cuts], [*cuts, len(ordered)], strict=True)]


def pad(sequences: Sequence[np.ndarray], value: int = 0) -> np.ndarray:
  """int32 [B,T], filled up behind each sequence."""
  out = np.full((len(sequences), max(map(len, sequences))), value, np.int32)
  for row, sequence in zip(out, sequences, strict=True):
    row[: len(sequence)] = sequence
  return out


def read_batches(path: str) -> list[dict[str, np.ndarray]]:
  """The batches of `packed.npz` or `padded.npz`, in their order."""
  batches: dict[int, dict] = {}
  with np.load(path) as arrays:
    for key in arrays.files:
      number, name = key.split("/")
      batches.setdefault(int(number), {})[name] = arrays[key]
  return [batches[number] for number in sorted(batches)]


def check_equal_work(tokens: Mapping[str, Sequence[Sequence[float]]]) -> float:
  """The greatest relative difference of real target tokens per update between the first and others.

  Args:
    tokens: for each system, for each round, those of each update.

  Raises:
    ValueError: if in a round the means of two systems differ by more than `TOLERANCE`.
  """
  first, *others = tokens.items()
  worst = 0.0
  for name, rounds in others:
    for ours, theirs in zip(first[1], rounds, strict=True):
      a, b = np.mean(ours), np.mean(theirs)
      worst = max(worst, abs(b - a) / a)
      if worst > TOLERANCE or len(ours) != len(theirs):
        raise ValueError(f"{name} has {b} real target tokens per update, {first[0]} {a}")
  return float(worst)

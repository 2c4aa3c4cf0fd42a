"""Sentences for all systems: one tokenization, and the same pairs in each round.

tfx_jax reads them packed, other libraries padded. For those, the pairs of a round's updates are
sorted by length and split into the same number of batches, with equally many real target tokens and
each padded to its longest source and target. So there is less padding than with the usual length
buckets, and the real tokens per update differ by at most a sentence.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# Largest allowed relative difference of real target tokens per update between two systems.
TOLERANCE = 0.02


class Lengths(NamedTuple):
  """Number of real tokens of each pair, with special tokens, by update: lists of int arrays [P]."""

  sources: list[np.ndarray]
  targets: list[np.ndarray]


class Sources(NamedTuple):
  """The sources of a test set that are read whole, in its order.

  Attributes:
    texts: the sources, each on one line.
    references: the reference outputs of each.
    lengths: number of tokens of each, with EOS, int [N].
    vocab_size: V of the target's tokenizer.
  """

  texts: list[str]
  references: list[Sequence[str]]
  lengths: np.ndarray
  vocab_size: int


def write_sources(folder: str, config: Any, workdir: str = "", limit: int | None = None) -> Sources:
  """Writes the sources of the test set as texts and as tokens, and returns them.

  Args:
    folder: output folder of `texts.txt`, `sources.json` and the configuration; without a trained
      run, of a new tokenizer as well.
    config: our configuration; sources longer than `generate.max_source_length`, and blank ones, are
      left out.
    workdir: workdir of the trained run, or "".
    limit: largest number of sources; None: all.
  """
  from tfx_jax import builders
  from tfx_jax.config import files as config_files

  config_files.write_config(folder, config)
  if workdir:
    tokenizers = builders.saved_codecs(config, workdir)
  else:
    tokenizers = builders.make_codecs(config, folder)
  examples = builders.read_examples(config, "test")
  texts = [" ".join(example.source.splitlines()) for example in examples]
  layout = builders.make_layout(config, tokenizers)
  sources = [layout.source(ids) for ids in tokenizers[0].encode(texts)]
  longest = config.generate.max_source_length
  kept = [i for i, text in enumerate(texts) if text.strip() and len(sources[i]) <= longest][:limit]
  with open(os.path.join(folder, "texts.txt"), "w", encoding="utf-8") as file:
    file.writelines(texts[i] + "\n" for i in kept)
  with open(os.path.join(folder, "sources.json"), "w") as file:
    json.dump([sources[i] for i in kept], file)
  return Sources(
    [texts[i] for i in kept],
    [examples[i].judged_by for i in kept],
    np.array([len(sources[i]) for i in kept]),
    tokenizers[1].vocab_size,
  )


def write_batches(folder: str, config: Any, updates: int, per_round: int) -> tuple[Lengths, int]:
  """Tokenizes the training data and writes the batches of all updates, packed and padded.

  Args:
    folder: output folder of the tokenizer, the configuration, `packed.npz` and `padded.npz`.
    config: our configuration.
    updates: total number of updates.
    per_round: number of updates that have the same pairs for all systems; a divisor of `updates`.

  Returns:
    The lengths of the pairs of our updates, and V.
  """
  from tfx_jax import builders
  from tfx_jax.config import files as config_files

  config_files.write_config(folder, config)
  tokenizers = builders.make_codecs(config, folder)
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
  """Sorts pairs by length and splits them into parts of equally many target tokens."""
  ordered = sorted(pairs, key=lambda pair: (max(map(len, pair)), len(pair[1]), len(pair[0])))
  ends = np.cumsum([len(target) for _, target in ordered])
  cuts = [int(np.abs(ends - ends[-1] * part / parts).argmin()) + 1 for part in range(1, parts)]
  return [ordered[a:b] for a, b in zip([0, *cuts], [*cuts, len(ordered)], strict=True)]


def pad(sequences: Sequence[np.ndarray], value: int = 0) -> np.ndarray:
  """Returns int32 [B,T], padded at the end of each sequence."""
  out = np.full((len(sequences), max(map(len, sequences))), value, np.int32)
  for row, sequence in zip(out, sequences, strict=True):
    row[: len(sequence)] = sequence
  return out


def read_batches(path: str) -> list[dict[str, np.ndarray]]:
  """Reads the batches of `packed.npz` or `padded.npz`, in order."""
  batches: dict[int, dict] = {}
  with np.load(path) as arrays:
    for key in arrays.files:
      number, name = key.split("/")
      batches.setdefault(int(number), {})[name] = arrays[key]
  return [batches[number] for number in sorted(batches)]


def check_equal_work(tokens: Mapping[str, Sequence[Sequence[float]]]) -> float:
  """Returns the largest relative difference in real target tokens per update to the first system.

  Args:
    tokens: number of tokens of each update, for each system and round.

  Raises:
    ValueError: if the means of two systems differ by more than `TOLERANCE` in a round.
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

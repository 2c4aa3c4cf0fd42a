"""Sequences of tokens to and from arrays."""

import numpy as np

from tfx_jax.data.ragged import Ragged


def ragged(sequences):
  lengths = [len(sequence) for sequence in sequences]
  tokens = np.array([token for sequence in sequences for token in sequence], np.uint16)
  return Ragged(tokens, np.concatenate([[0], np.cumsum(lengths)]))


def sequences(batch, name="targets"):
  """The tokens of each segment of each row, with those of the same places of other arrays."""
  for row in range(len(batch[name])):
    segments = batch["targets_segments"][row]
    for segment in range(1, segments.max(initial=0) + 1):
      here = segments == segment
      yield {key: value[row][here].tolist() for key, value in batch.items()}

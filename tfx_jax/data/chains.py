"""Chains: examples that continue each other, such as the answers of a dialogue.

The last source of a chain holds all the earlier examples. A decoder that is given it predicts their
targets as well, from the same tokens as it would in rows of their own, and computes what they share
only once.
"""

from collections.abc import Sequence

import numpy as np

from tfx_jax.data.example import Pair
from tfx_jax.data.ragged import Ragged


def chain_offsets(sources: Ragged, targets: Ragged) -> np.ndarray:
  """Returns where chains start in a corpus, and the end of the last: int64 [chains + 1].

  An example continues the one before it if its source starts with the source and target of that
  one, without the EOS of the target, and has at least one token more. If sources end with a special
  token, no example continues another.
  """
  starts = np.ones(len(targets), bool)
  for number in _candidates(sources, targets):
    previous, target = sources[number - 1], targets[number - 1][:-1]
    start = sources[number][: len(previous) + len(target)]
    starts[number] = not np.array_equal(start, np.concatenate([previous, target]))
  return np.append(np.flatnonzero(starts), len(targets))


def _candidates(sources: Ragged, targets: Ragged) -> np.ndarray:
  """Examples whose sources are long enough and agree with the ones before in one token."""
  previous, current = sources.lengths[:-1], sources.lengths[1:]
  long_enough = (previous > 0) & (current >= previous + targets.lengths[:-1])
  numbers = np.flatnonzero(long_enough) + 1
  starts = sources.offsets[numbers]
  ends = starts + sources.lengths[numbers - 1]
  return numbers[sources.values[starts - 1] == sources.values[ends - 1]]


def unroll(chain: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns a chain as one sequence.

  Args:
    chain: sources with their targets, each continuing the one before.

  Returns:
    tokens [T] of the last source and target, the targets [T] that are predicted at their positions,
    and weights [T], 1 at every token of a target of the chain and 0 elsewhere. Tokens and targets
    differ where a target other than the last ends: EOS is predicted there, but the next token of
    the last source is read.
  """
  tokens = np.concatenate(chain[-1])
  predicted, weights = tokens.copy(), np.zeros(len(tokens), np.int32)
  for source, target in chain:
    place = slice(len(source), len(source) + len(target))
    predicted[place], weights[place] = target, 1
  return tokens, predicted, weights

"""Examples that go on from each other, as the answers of a dialogue do: a chain.

The last of a chain has all the others within its source. A decoder that reads it learns them too,
by the same predictions from the same tokens, and reads what they share once.
"""

from collections.abc import Sequence

import numpy as np

from tfx_jax.data.ragged import Ragged

Pair = tuple[Sequence[int], Sequence[int]]


def chain_offsets(sources: Ragged, targets: Ragged) -> np.ndarray:
  """Where in a corpus chains begin, and the end: int64 [chains + 1].

  An example goes on from the one before it if its source begins with the other's source and target,
  without the mark that ends the target, and has at least a token more. A source that ends with a
  mark of its own is never gone on from.
  """
  begins = np.ones(len(targets), bool)
  for number in _candidates(sources, targets):
    before, target, source = sources[number - 1], targets[number - 1][:-1], sources[number]
    said = source[: len(before) + len(target)]
    begins[number] = not np.array_equal(said, np.concatenate([before, target]))
  return np.append(np.flatnonzero(begins), len(targets))


def _candidates(sources: Ragged, targets: Ragged) -> np.ndarray:
  """The examples whose sources are long enough, and have the last token of the ones before."""
  before, after = sources.lengths[:-1], sources.lengths[1:]
  long_enough = (before > 0) & (after >= before + targets.lengths[:-1])
  numbers = np.flatnonzero(long_enough) + 1
  starts = sources.offsets[numbers]
  same = sources.tokens[starts - 1] == sources.tokens[starts + sources.lengths[numbers - 1] - 1]
  return numbers[same]


def unroll(chain: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """A chain as one sequence.

  Args:
    chain: sources with their targets, each going on from the one before.

  Returns:
    The tokens [T] of the last source and target; what is to be predicted [T] in the place of each
    from those before it; weights [T], 1 where targets are and 0 elsewhere. Tokens and predictions
    differ where another target ends: its mark is predicted there, and what comes next is read.
  """
  tokens = np.concatenate(chain[-1])
  predicted, weights = tokens.copy(), np.zeros(len(tokens), np.int32)
  for source, target in chain:
    place = slice(len(source), len(source) + len(target))
    predicted[place], weights[place] = target, 1
  return tokens, predicted, weights

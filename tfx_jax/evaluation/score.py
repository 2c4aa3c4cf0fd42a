"""Log-probabilities of given targets."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from tfx_jax.data.layout import Layout
from tfx_jax.errors import UserError
from tfx_jax.evaluation.pairs import in_batches
from tfx_jax.losses.cross_entropy import log_probs
from tfx_jax.models.model import Model
from tfx_jax.parallel import Parallel


class Scorer:
  """Scores pairs of token sequences with a model.

  Args:
    model: whose probabilities are asked for.
    parallel: the mesh.
    layout: how the model reads pairs.
    batch_size: pairs scored at a time.
  """

  def __init__(self, model: Model, parallel: Parallel, layout: Layout, batch_size: int):
    self._parallel, self._layout = parallel, layout
    self._rows = -(-batch_size // parallel.batch_shards) * parallel.batch_shards
    self._log_probs = parallel.jit(functools.partial(_log_probs, model))

  def __call__(
    self, params: Any, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
  ) -> list[float]:
    """The sum of each target's log-probabilities in nats, without those of the source.

    Raises:
      UserError: for a pair that is longer than what the model can read, or a score that is NaN.
    """
    window = self._layout.window
    for number, (source, target) in enumerate(zip(sources, targets, strict=True), 1):
      if window and len(source) + len(target) > window:
        raise UserError(
          f"pair {number} has {len(source) + len(target)} tokens, and this model reads at most "
          f"{window}: score a shorter text, or parts of it"
        )
    scores = np.zeros(len(sources))
    for members, batch in in_batches(self._layout, sources, targets, self._rows):
      found = self._log_probs(params, self._parallel.place_whole(batch))
      scores[members] = self._parallel.fetch(found)[: len(members)]
    if np.isnan(scores).any():
      raise UserError(
        f"pair {np.isnan(scores).argmax() + 1}: the model's scores are not finite: its parameters "
        "are damaged (NaN or infinity)"
      )
    return scores.tolist()


def _log_probs(model: Model, params: Any, batch: dict[str, jax.Array]) -> jax.Array:
  """Sums [B] over each row's targets."""
  bound = model.bind({"params": params})
  logits = bound.logits(bound(batch), batch.get("inputs"))
  return (log_probs(logits, batch["targets"]) * batch["weights"]).sum(axis=1)

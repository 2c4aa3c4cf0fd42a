"""Scores: log-probabilities of given targets."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from tfx_jax.data.layout import Layout
from tfx_jax.errors import UserError
from tfx_jax.evaluation.pairs import in_batches
from tfx_jax.losses.cross_entropy import log_probs
from tfx_jax.models.model import Batch, Model, Params
from tfx_jax.parallel import Parallel


class Scorer:
  """Scores pairs of token sequences with a model.

  Args:
    model: the model.
    parallel: the mesh.
    layout: how the model is given pairs.
    batch_size: pairs that are scored together.
  """

  def __init__(self, model: Model, parallel: Parallel, layout: Layout, batch_size: int):
    self._parallel, self._layout = parallel, layout
    self._rows = -(-batch_size // parallel.batch_shards) * parallel.batch_shards
    self._log_probs = parallel.jit(functools.partial(_log_probs, model))

  def __call__(
    self, params: Params, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
  ) -> list[float]:
    """Returns the sum of each target's log-probabilities in nats.

    Args:
      params: parameters of the model.
      sources: token ids of the sources, with special tokens.
      targets: token ids of the targets, with special tokens.

    Raises:
      UserError: for a pair that is longer than the model can read, or a score that is NaN.
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
      sums = self._log_probs(params, self._parallel.place_whole(batch))
      scores[members] = self._parallel.fetch(sums)[: len(members)]
    if np.isnan(scores).any():
      raise UserError(
        f"pair {np.isnan(scores).argmax() + 1}: the model's scores are not finite: its parameters "
        "are damaged (NaN or infinity)"
      )
    return scores.tolist()


def _log_probs(model: Model, params: Params, batch: Batch) -> jax.Array:
  """Returns the sum of log-probabilities of each row's targets, [B]."""
  bound = model.bind({"params": params})
  logits = bound.logits(bound(batch), batch.get("inputs"))
  if not isinstance(logits, jax.Array):
    raise UserError("score: this model generates frames, which have no log-probabilities")
  return (log_probs(logits, batch["targets"]) * batch["weights"]).sum(axis=1)

"""Metrics of predicted pictures by name, including functions of the user."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from tfx_jax.errors import UserError
from tfx_jax.metrics.scenes import describe_scene
from tfx_jax.metrics.text import share_of_hits, user_metric, user_results


def _is_equal(prediction: np.ndarray, reference: np.ndarray) -> bool:
  return np.array_equal(prediction, reference)


def _is_same_scene(prediction: np.ndarray, reference: np.ndarray) -> bool:
  found = describe_scene(prediction)
  # Two pictures in which the parser finds nothing are not known to be the same.
  return bool(found) and found == describe_scene(reference)


def _psnr(predictions: Sequence[np.ndarray | None], references: Sequence[np.ndarray]) -> float:
  """Returns the peak signal-to-noise ratio in dB, of the mean squared error of all values.

  Infinite if nothing is lost. A picture that is missing counts as wrong by 255 in each value.
  """
  squares, count = 0.0, 0
  for prediction, reference in zip(predictions, references, strict=True):
    wrong = 255.0 if prediction is None else prediction.astype(np.float64) - reference
    squares += float(np.square(np.broadcast_to(wrong, reference.shape)).sum())
    count += reference.size
  return 10 * math.log10(255**2 * count / squares) if squares else math.inf


# exact_match: all pixels are equal; scene_match: a parser finds the same objects and relations.
_HITS: dict[str, Callable[[np.ndarray, np.ndarray], bool]] = {
  "exact_match": _is_equal,
  "scene_match": _is_same_scene,
}
# psnr: see `_psnr`.
IMAGE_METRICS = (*_HITS, "psnr")


def check_names(names: Sequence[str]) -> None:
  """Checks names of metrics, before any picture has been predicted.

  Raises:
    UserError: if a name is unknown or its function cannot be imported.
  """
  for name in names:
    if name not in IMAGE_METRICS:
      user_metric(name, IMAGE_METRICS)


def image_metrics(
  names: Sequence[str],
  predictions: Sequence[np.ndarray | None],
  references: Sequence[np.ndarray],
  kinds: Sequence[str] = (),
) -> dict[str, float | str]:
  """Computes all the metrics named.

  Args:
    names: metrics of IMAGE_METRICS, or 'package.module:function' for a function of the user, which
      has the parameters `predictions` and `references` and returns a dict of metrics.
    predictions: a picture per example, uint8 [H,W,C]; None, where there is none, is never right.
    references: the true picture of each.
    kinds: a label per example, or nothing.

  Raises:
    UserError: if a name is unknown, there are no predictions, or a function of the user does not
      return a dict.
  """
  if not predictions or len(predictions) != len(references):
    raise UserError(f"{len(predictions)} predictions for {len(references)} references")
  results: dict[str, float | str] = {}
  for name in names:
    if name == "psnr":
      results[name] = _psnr(predictions, references)
    elif name in _HITS:
      pairs = zip(predictions, references, strict=True)
      hits = [p is not None and _HITS[name](p, reference) for p, reference in pairs]
      results |= share_of_hits(name, hits, kinds)
    else:
      results |= user_results(name, IMAGE_METRICS, predictions, references)
  return results

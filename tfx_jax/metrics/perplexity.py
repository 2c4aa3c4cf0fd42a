"""Perplexity of a mean cross-entropy."""

import math


def perplexity(nats_per_token: float) -> float:
  """exp(mean cross-entropy in nats); inf where that is beyond a float."""
  try:
    return math.exp(nats_per_token)
  except OverflowError:
    return math.inf

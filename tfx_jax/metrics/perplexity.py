"""Perplexity of a mean cross-entropy."""

import math


def perplexity(nats_per_token: float) -> float:
  """exp(mean cross-entropy in nats); inf where that is beyond a float."""
  try:
    return math.exp(nats_per_token)
  except OverflowError:
    return math.inf


# Figures that a model has without writing anything; lower is better.
LOSS_FIGURES = ("loss", "perplexity", "bits_per_byte", "word_perplexity")


def loss_figures(nats: float, tokens: float, num_bytes: int, words: int) -> dict[str, float]:
  """What a summed cross-entropy is per token, and per what does not depend on the tokenizer.

  Args:
    nats: the cross-entropy of all texts.
    tokens: of the texts, EOS counted.
    num_bytes: of the texts in UTF-8.
    words: of the texts, between spaces.

  Returns:
    `loss` in nats per token, `perplexity` per token, `bits_per_byte`, `word_perplexity`.
  """
  return {
    "loss": nats / tokens,
    "perplexity": perplexity(nats / tokens),
    "bits_per_byte": nats / math.log(2) / num_bytes,
    "word_perplexity": perplexity(nats / words),
  }

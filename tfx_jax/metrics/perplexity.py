"""Metrics computed from the cross-entropy: perplexity, bits per byte and perplexity per word."""

import math


def perplexity(nats_per_token: float) -> float:
  """Returns exp(mean cross-entropy in nats); infinity if this overflows a float."""
  try:
    return math.exp(nats_per_token)
  except OverflowError:
    return math.inf


# Metrics that need no generated text; lower is better.
LOSS_METRICS = ("loss", "perplexity", "bits_per_byte", "word_perplexity")


def loss_metrics(
  nats: float, tokens: float, num_bytes: int | None = None, words: int | None = None
) -> dict[str, float]:
  """Normalizes a summed cross-entropy by tokens, bytes and words.

  Bits per byte (Gao et al., 2020, arXiv:2101.00027) and perplexity per word can be compared between
  models with different tokenizers, the metrics per token cannot.

  Args:
    nats: cross-entropy of all targets in nats.
    tokens: number of tokens, EOS counted.
    num_bytes: size of the targets in UTF-8; None if they are not texts.
    words: number of words, separated by white space; None if targets are not texts.

  Returns:
    `loss` in nats per token, `perplexity` per token; for texts also `bits_per_byte` in bits,
    `word_perplexity` per word.
  """
  metrics = {"loss": nats / tokens, "perplexity": perplexity(nats / tokens)}
  if num_bytes is not None:
    metrics["bits_per_byte"] = nats / math.log(2) / num_bytes
  if words is not None:
    metrics["word_perplexity"] = perplexity(nats / words)
  return metrics

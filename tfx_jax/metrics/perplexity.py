"""Metrics computed from the cross-entropy: per token, byte, word, picture and value."""

import math
from collections.abc import Mapping


def perplexity(nats_per_token: float) -> float:
  """Returns exp(mean cross-entropy in nats); infinity if this overflows a float."""
  try:
    return math.exp(nats_per_token)
  except OverflowError:
    return math.inf


# Metrics that need no generated text; lower is better.
LOSS_METRICS = (
  "loss",
  "perplexity",
  "bits_per_byte",
  "word_perplexity",
  "nats_per_picture",
  "bits_per_dim",
)


def loss_metrics(nats: float, tokens: float, sizes: Mapping[str, int]) -> dict[str, float]:
  """Normalizes a summed cross-entropy by tokens, and by the sizes that targets have.

  Bits per byte (Gao et al., 2020, arXiv:2101.00027) and perplexity per word can be compared between
  models with different tokenizers, the metrics per token cannot. If the codec of pictures loses
  nothing, `nats_per_picture` and `bits_per_dim` are exact negative log-likelihoods.

  Args:
    nats: cross-entropy of all targets in nats.
    tokens: number of tokens, EOS counted.
    sizes: sizes of all targets: of texts `bytes` (UTF-8) and `words`, separated by white space; of
      pictures `pictures` and `values` (height x width x channels).

  Returns:
    `loss` in nats per token, `perplexity` per token; for texts also `bits_per_byte` and
    `word_perplexity`, for pictures `nats_per_picture` and `bits_per_dim`, bits per value.
  """
  metrics = {"loss": nats / tokens, "perplexity": perplexity(nats / tokens)}
  if "bytes" in sizes:
    metrics["bits_per_byte"] = nats / math.log(2) / sizes["bytes"]
  if "words" in sizes:
    metrics["word_perplexity"] = perplexity(nats / sizes["words"])
  if "pictures" in sizes:
    metrics["nats_per_picture"] = nats / sizes["pictures"]
  if "values" in sizes:
    metrics["bits_per_dim"] = nats / math.log(2) / sizes["values"]
  return metrics

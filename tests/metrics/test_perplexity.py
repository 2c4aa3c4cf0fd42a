import math

import pytest

from tfx_jax.metrics.perplexity import LOSS_METRICS, loss_metrics, perplexity


def test_perplexity_never_overflows():
  assert perplexity(math.log(7)) == pytest.approx(7)
  assert perplexity(1e6) == math.inf
  assert perplexity(math.inf) == math.inf
  assert math.isnan(perplexity(math.nan))


def test_loss_metrics_per_token_byte_and_word():
  scores = loss_metrics(math.log(2) * 24, 8, {"bytes": 12, "words": 4})
  assert tuple(scores) == LOSS_METRICS[:4]
  assert scores == pytest.approx(
    {"loss": 3 * math.log(2), "perplexity": 8, "bits_per_byte": 2, "word_perplexity": 64}
  )


def test_loss_metrics_per_picture_and_value():
  scores = loss_metrics(math.log(2) * 24, 8, {"pictures": 2, "values": 48})
  assert tuple(scores) == (*LOSS_METRICS[:2], *LOSS_METRICS[4:])
  assert scores["nats_per_picture"] == pytest.approx(12 * math.log(2))
  assert scores["bits_per_dim"] == pytest.approx(0.5)


def test_targets_of_unknown_sizes_have_no_metrics_by_them():
  assert loss_metrics(8.0, 4, {}) == {"loss": 2.0, "perplexity": math.exp(2)}

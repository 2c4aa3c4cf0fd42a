import math

import pytest

from tfx_jax.metrics.perplexity import LOSS_METRICS, loss_metrics, perplexity


def test_perplexity_never_overflows():
  assert perplexity(math.log(7)) == pytest.approx(7)
  assert perplexity(1e6) == math.inf
  assert perplexity(math.inf) == math.inf
  assert math.isnan(perplexity(math.nan))


def test_loss_metrics_per_token_byte_and_word():
  scores = loss_metrics(nats=math.log(2) * 24, tokens=8, num_bytes=12, words=4)
  assert tuple(scores) == LOSS_METRICS
  assert scores == pytest.approx(
    {"loss": 3 * math.log(2), "perplexity": 8, "bits_per_byte": 2, "word_perplexity": 64}
  )


def test_targets_that_are_not_texts_have_no_metrics_per_byte_and_word():
  assert loss_metrics(nats=8.0, tokens=4) == {"loss": 2.0, "perplexity": math.exp(2)}

import math

import pytest

from tfx_jax.metrics.perplexity import perplexity


def test_perplexity_never_overflows():
  assert perplexity(math.log(7)) == pytest.approx(7)
  assert perplexity(1e6) == math.inf
  assert perplexity(math.inf) == math.inf
  assert math.isnan(perplexity(math.nan))

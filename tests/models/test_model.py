"""Wrappers are models: what `init` returns can be bound."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from support.small_model import TOKENS, Bag, small_batch

from tfx_jax.models.ensemble import Ensemble
from tfx_jax.models.quantized import Quantized

BATCH = small_batch(2)


@pytest.mark.parametrize("model", [Bag(), Ensemble([Bag(), Bag()]), Quantized(Bag())])
def test_new_parameters_can_be_bound_and_keys_make_them(model):
  def logits(key):
    bound = model.bind(nn.unbox(model.init(key, BATCH)))
    return bound.logits(bound(BATCH))

  one, again, other = (jax.jit(logits)(jax.random.key(seed)) for seed in (0, 0, 1))
  assert one.shape[:2] == BATCH["targets"].shape and one.shape[2] >= TOKENS
  np.testing.assert_array_equal(one, again)
  assert np.abs(one - other).max() > 1e-3

import jax
import numpy as np
import pytest

from tfx_jax.losses.masked import length_cross_entropy, masked_places

SEGMENTS = np.array([[1] * 30 + [2] * 25 + [0] * 9, [1] * 50 + [2, 3, 3] + [0] * 11], np.int32)


def test_a_share_of_each_target_is_masked_and_padding_never():
  draw = jax.jit(jax.vmap(lambda key: masked_places(key, SEGMENTS)))
  masked = np.asarray(draw(jax.random.split(jax.random.key(0), 3000)))
  assert not masked[:, SEGMENTS == 0].any()
  # The mean of cos(pi/2 u) is 2/pi, that of its square 1/2.
  first, second = masked[:, 0, :30].mean(axis=1), masked[:, 0, 30:55].mean(axis=1)
  for shares in (first, second):
    assert shares.mean() == pytest.approx(2 / np.pi, abs=0.02)
    assert (shares**2).mean() == pytest.approx(0.5, abs=0.03)
  # Targets of a row have shares of their own.
  assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_lengths_are_predicted_at_the_end_of_each_source():
  rng = np.random.default_rng(0)
  sources = np.array([[1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1]], np.int32)
  targets = np.array([[1, 1, 1, 2, 0], [1, 1, 1, 1, 1]], np.int32)
  logits = rng.normal(size=(2, 6, 5)).astype(np.float32)
  nll, count = length_cross_entropy(logits, sources, targets)
  log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
  # A length of 5 counts as the greatest that there is, 4.
  expected = log_probs[0, 1, 3] + log_probs[0, 4, 1] + log_probs[1, 5, 4]
  assert float(nll) == pytest.approx(-expected, rel=1e-5) and float(count) == 3

"""Losses of frames against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np

from tfx_jax.losses.frames import absolute_error, squared_error, stop_cross_entropy

B, T, C = 2, 4, 3


def arrays(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


WEIGHTS = np.array([[1, 1, 0.5, 0], [1, 0, 0, 0]], np.float32)


def test_absolute_error_is_a_mean_over_channels_and_a_sum_over_frames():
  frames, targets = arrays(B, T, C), arrays(B, T, C, seed=1)
  total, weight = absolute_error(frames, targets, WEIGHTS)
  expected = sum(
    WEIGHTS[b, t] * np.abs(frames[b, t] - targets[b, t]).mean() for b in range(B) for t in range(T)
  )
  np.testing.assert_allclose([total, weight], [expected, 3.5], rtol=1e-6)


def test_squared_error_is_a_mean_over_channels_and_a_sum_over_frames():
  frames, targets = arrays(B, T, C), arrays(B, T, C, seed=1)
  total, weight = squared_error(frames, targets, WEIGHTS)
  expected = (WEIGHTS * np.square(frames.astype(np.float64) - targets).mean(axis=2)).sum()
  np.testing.assert_allclose([total, weight], [expected, 3.5], rtol=1e-6)


def test_stopping_is_rewarded_at_last_frames_and_penalized_at_others():
  stop, last = arrays(B, T), np.array([[0, 0, 1, 0], [1, 0, 0, 0]], bool)
  total, weight = stop_cross_entropy(stop, last, WEIGHTS)
  p = 1 / (1 + np.exp(-stop.astype(np.float64)))
  expected = -(WEIGHTS * np.log(np.where(last, p, 1 - p))).sum()
  np.testing.assert_allclose([total, weight], [expected, 3.5], rtol=1e-6)


def test_frames_without_weight_have_no_gradient_and_sure_stops_are_finite():
  frames, last = arrays(B, T, C), np.zeros((B, T), bool)
  grad = jax.grad(lambda x: absolute_error(x, jnp.zeros_like(x), WEIGHTS)[0])(frames)
  assert (np.any(grad, axis=-1) == (WEIGHTS > 0)).all()
  stop = jnp.full((B, T), 1e4)
  total, grad = jax.value_and_grad(lambda x: stop_cross_entropy(x, last, WEIGHTS)[0])(stop)
  np.testing.assert_allclose(total, 3.5e4)
  np.testing.assert_allclose(grad, WEIGHTS)

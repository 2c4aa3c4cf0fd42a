import jax.numpy as jnp
import numpy as np

from tfx_jax.decoding import truncation as on


def test_truncation_keeps_the_likeliest():
  probs = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
  logits = jnp.log(jnp.asarray(probs[[3, 0, 4, 1, 2]]))[None, None]

  def kept(rule, number):
    found = rule(logits, jnp.array([number]))[0, 0]
    return sorted(probs[[3, 0, 4, 1, 2]][np.isfinite(found)].tolist(), reverse=True)

  for k in range(1, 8):
    assert kept(on.keep_top_k, k) == probs[:k].tolist()
  assert kept(on.keep_top_k, 0) == kept(on.keep_top_p, 1.0) == probs.tolist()
  # Tokens of at least p times the greatest probability, 0.4.
  for p, count in ((1.0, 1), (0.76, 1), (0.74, 2), (0.26, 3), (0.24, 4), (0.13, 4), (0.0, 5)):
    assert kept(on.keep_min_p, p) == probs[:count].tolist()
  for p, count in ((1e-6, 1), (0.39, 1), (0.41, 2), (0.69, 2), (0.71, 3), (0.96, 5)):
    assert kept(on.keep_top_p, p) == probs[:count].tolist()


def test_truncation_is_by_value_of_any_sign_and_keeps_ties():
  values = jnp.array([[[-3.0, -0.0, 2.5, 0.0, -jnp.inf, 2.5, -1e-30, 1e-30]]])
  for k, least in ((1, 2.5), (2, 2.5), (3, 1e-30), (6, -1e-30), (7, -3.0), (9, -3.0)):
    found = on.keep_top_k(values, jnp.array([k]))
    assert np.isfinite(found).tolist() == ((values >= least) & jnp.isfinite(values)).tolist()
  assert np.isfinite(on.keep_top_p(values, jnp.array([0.3]))).sum() == 2


def test_typical_tokens_have_information_near_the_entropy():
  """The entropy is 1.39, the information of a probability of 0.249: 0.3 is nearest, then 0.4."""
  probs = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
  order = probs[[1, 0, 2, 3, 4]]
  logits = jnp.log(jnp.asarray(probs))[None, None] + 3.0
  for mass, count in ((1e-6, 1), (0.29, 1), (0.31, 2), (0.69, 2), (0.71, 3), (0.86, 4), (1.0, 5)):
    found = np.isfinite(on.keep_typical(logits, jnp.array([mass]))[0, 0])
    assert sorted(probs[found]) == sorted(order[:count])
  certain = jnp.array([[[0.0, -jnp.inf, -jnp.inf]]])
  assert np.isfinite(on.keep_typical(certain, jnp.array([0.5]))).tolist() == [
    [[True, False, False]]
  ]

"""Copying against its definition in float64, where what is copied is likely and where it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tfx_jax.layers.copy import CopyAttention, Pointed, with_copies
from tfx_jax.layers.mask import Mask

B, T, S, V, TOKENS, D = 2, 5, 7, 12, 10, 4
LOWEST = np.finfo(np.float32).min


def arrays(scale=2.0):
  """Logits, weights some of which are 0, gates, and tokens that occur more than once."""
  rng = np.random.default_rng(0)
  logits = scale * rng.normal(size=(B, T, V))
  logits[..., TOKENS:] = LOWEST
  weights = rng.dirichlet(np.ones(S), (B, T))
  weights[1, :, 4:] = 0.0
  weights /= weights.sum(-1, keepdims=True)
  return logits, weights, scale * rng.normal(size=(B, T)), rng.integers(0, 6, (B, S))


def in_float64(logits, weights, gate, tokens):
  """log P of the tokens that exist."""
  real = logits[..., :TOKENS]
  generated = np.exp(real - real.max(-1, keepdims=True))
  generated /= generated.sum(-1, keepdims=True)
  of_generated, of_copied = (1 / (1 + np.exp(sign * gate[..., None])) for sign in (-1, 1))
  copied = np.zeros_like(generated)
  for row, place in np.ndindex(B, S):
    copied[row, :, tokens[row, place]] += weights[row, :, place]
  return np.log(of_generated * generated + of_copied * copied)


def mixed(logits, weights, gate, tokens):
  logits, weights, gate = (jnp.asarray(x, jnp.float32) for x in (logits, weights, gate))
  return with_copies(logits, Pointed(None, weights, gate), tokens)


@pytest.mark.parametrize("scale", [0.1, 2.0, 25.0])
def test_equals_the_definition(scale):
  batch = arrays(scale)
  found = np.asarray(jax.jit(mixed)(*batch))
  np.testing.assert_allclose(found[..., :TOKENS], in_float64(*batch), rtol=1e-4, atol=1e-4)
  assert (found[..., TOKENS:] == LOWEST).all()
  np.testing.assert_allclose(jax.nn.logsumexp(found, axis=-1), np.zeros((B, T)), atol=1e-5)


def test_the_gradient_is_that_of_the_definition():
  logits, weights, gate, tokens = arrays()
  cotangent = np.random.default_rng(1).normal(size=(B, T, TOKENS))

  def total(*args):
    return (mixed(*args, tokens)[..., :TOKENS] * cotangent).sum()

  grads = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(logits, weights, gate)
  arguments = [logits, weights, gate]
  for number, (grad, x) in enumerate(zip(grads, arguments, strict=True)):
    assert np.isfinite(grad).all()
    for index in np.ndindex(x.shape):
      if x[index] in (0.0, LOWEST):
        continue

      def moved(by, number=number, index=index):
        changed = [y.copy() for y in arguments]
        changed[number][index] += by
        return (in_float64(*changed, tokens) * cotangent).sum()

      slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
      np.testing.assert_allclose(grad[index], slope, rtol=1e-3, atol=1e-4)


def test_a_source_is_never_spread_over_the_vocabulary():
  logits, weights, gate, tokens = arrays()
  program = str(
    jax.make_jaxpr(jax.grad(lambda *args: mixed(*args, tokens).sum()))(logits, weights, gate)
  )
  assert f"[{B},{T},{V}]" in program
  assert f"{S},{V}]" not in program


def test_places_of_other_segments_are_never_pointed_at():
  rng = np.random.default_rng(2)
  states, memory = (rng.normal(size=(1, n, D)).astype(np.float32) for n in (T, S))
  mask = Mask(np.array([[1, 1, 2, 2, 0]]), np.array([[1, 1, 1, 2, 2, 0, 0]]))
  tokens = rng.integers(0, V, (1, S))

  def point(module, memory):
    return module(states, module.project_memory(memory, tokens), mask)

  attention = CopyAttention(D)
  params = nn.unbox(nn.init(point, attention)(jax.random.key(0), memory))
  apply = jax.jit(nn.apply(point, attention))
  pointed = apply(params, memory)
  weights = np.asarray(pointed.weights)[0]
  assert (weights > 0)[:4].tolist() == [[True] * 3 + [False] * 4] * 2 + [
    [False] * 3 + [True] * 2 + [False] * 2
  ] * 2
  np.testing.assert_allclose(weights.sum(-1), np.ones(T), rtol=1e-6)
  other = apply(params, np.concatenate([memory[:, :3], memory[:, 3:] + 9], axis=1))
  np.testing.assert_array_equal(other.gate[0, :2], pointed.gate[0, :2])
  assert np.isfinite(pointed.gate).all()

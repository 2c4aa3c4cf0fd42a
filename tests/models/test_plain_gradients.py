"""Forward mode through a whole model and its loss, which hand-written gradients rule out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.data.packing import pack
from tfx_jax.losses.cross_entropy import chunked_cross_entropy

SETTINGS = {"model.copy_head": True, "model.features": 8, "tokenizer.joint": True}


def setup(plain):
  """Parameters, and the training loss as a function of them."""
  tokenizer = CharacterTokenizer("abcdefg ")
  config = make_config({"model.plain_gradients": plain, **SETTINGS})
  model = builders.make_model(config, (tokenizer, tokenizer))
  # A row is padded: nothing of it may become NaN, whatever is differentiated.
  batch = pack([[[4, 5, 6, 7]], [[8, 4]]], [[[5, 6, 1]], [[7, 8, 4, 1]]], 4, 4)
  params = random_like(jax.eval_shape(model.init, jax.random.key(0), batch)["params"], 0)

  def loss(params):
    bound = model.bind({"params": params}, rngs={"dropout": jax.random.key(1)})
    hidden = bound(batch)
    head = lambda x: bound.logits(x, batch["inputs"])  # noqa: E731
    return chunked_cross_entropy(
      *(head, hidden, batch["targets"], batch["weights"]),
      chunks=2,
      label_smoothing=0.1,
      plain_gradients=config.model.plain_gradients,
    )[0]

  return params, loss


def random_like(tree, seed):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32), tree)


def dot(x, y):
  return sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (x, y)), strict=True))


@pytest.mark.slow
def test_forward_mode_agrees_with_written_gradients():
  """Slopes, and Hessian-vector products: reverse over forward, and reverse over reverse."""
  (params, loss), (_, written) = setup(plain=True), setup(plain=False)
  along = random_like(params, 1)

  @jax.jit
  def reverse_over_forward(params):
    return jax.value_and_grad(lambda params: jax.jvp(loss, (params,), (along,))[1])(params)

  @jax.jit
  def reverse_over_reverse(params):
    return jax.value_and_grad(lambda params: dot(jax.grad(written)(params), along))(params)

  slope, product = reverse_over_forward(params)
  expected_slope, expected = reverse_over_reverse(params)
  np.testing.assert_allclose(slope, expected_slope, rtol=1e-4)
  assert abs(slope) > 0.1
  for found, (path, wanted) in zip(
    jax.tree.leaves(product), jax.tree.leaves_with_path(expected), strict=True
  ):
    scale = max(np.abs(wanted).max(), 1.0)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * scale, err_msg=str(path))
  assert dot(product, product) > 0.1


def test_without_the_setting_there_is_no_forward_mode():
  params, written = setup(plain=False)
  with pytest.raises(TypeError, match="forward-mode"):
    jax.jit(functools.partial(jax.jvp, written)).lower((params,), (params,))

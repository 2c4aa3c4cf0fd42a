import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.losses.cross_entropy import chunked_cross_entropy, cross_entropy

B, T, D, V, TOKENS = 3, 8, 5, 12, 10
SETTINGS = [(0.0, 0.0), (0.1, 0.0), (0.0, 0.03), (0.2, 0.01)]


def make(seed=0):
  """Logits whose last tokens do not exist, targets that include 0, weights that include 0."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(B, T, V)).astype(np.float32) * 3
  logits[..., TOKENS:] = np.finfo(np.float32).min
  targets = rng.integers(0, TOKENS, (B, T)).astype(np.int32)
  targets[0, 0] = 0
  weights = rng.choice([0.0, 0.5, 1.0], (B, T)).astype(np.float32)
  weights[0, 0], weights[1, 1] = 1.0, 0.0
  return logits, targets, weights


def in_float64(logits, targets, weights, label_smoothing, z_loss):
  """The definition: a target distribution over the tokens that exist."""
  logits = logits[..., :TOKENS].astype(np.float64)
  log_z = np.log(np.exp(logits).sum(-1))
  wanted = (1 - label_smoothing) * np.eye(TOKENS)[targets] + label_smoothing / TOKENS
  log_probs = logits - log_z[..., None]
  loss = -(wanted * log_probs).sum(-1) + z_loss * log_z**2
  nll = -np.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
  return (loss * weights).sum(), (nll * weights).sum()


@pytest.mark.parametrize(("label_smoothing", "z_loss"), SETTINGS)
def test_equals_the_definition(label_smoothing, z_loss):
  batch = make()
  sums = cross_entropy(*batch, label_smoothing, z_loss)
  np.testing.assert_allclose(sums, in_float64(*batch, label_smoothing, z_loss), rtol=1e-5)


def test_r_drop_is_the_mean_of_both_divergences_of_neighbours():
  logits, targets, weights = (np.repeat(x[:2], 2, axis=0) for x in make())
  logits[1::2, :, :TOKENS] += np.random.default_rng(9).normal(size=(2, T, TOKENS))
  loss, nll = cross_entropy(logits, targets, weights, r_drop=0.7)
  p, q = (
    np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    for x in (logits[side::2, :, :TOKENS].astype(np.float64) for side in (0, 1))
  )
  divergences = ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)) / 2
  np.testing.assert_allclose(loss - nll, 0.7 * (divergences * weights[::2]).sum(), rtol=1e-4)


@pytest.mark.parametrize("label_smoothing, z_loss, r_drop", [(0.0, 0.0, 0.0), (0.1, 0.02, 0.5)])
def test_the_gradients_are_those_of_the_sums(label_smoothing, z_loss, r_drop):
  logits, targets, weights = (np.repeat(x[:2], 2, axis=0) for x in make())
  logits[1::2, :, :TOKENS] += np.random.default_rng(9).normal(size=(2, T, TOKENS))
  settings = dict(label_smoothing=label_smoothing, z_loss=z_loss, r_drop=r_drop)

  def both(logits):
    loss, nll = cross_entropy(logits, targets, weights, **settings)
    return loss + 3 * nll

  grad = jax.jit(jax.grad(both))(logits)
  rng = np.random.default_rng(4)
  for _ in range(5):
    direction = np.zeros_like(logits)
    direction[..., :TOKENS] = rng.normal(size=(4, T, TOKENS))
    slope = (both(logits + 1e-2 * direction) - both(logits - 1e-2 * direction)) / 2e-2
    np.testing.assert_allclose((grad * direction).sum(), slope, rtol=5e-3, atol=2e-2)


@pytest.mark.parametrize(("label_smoothing", "z_loss"), SETTINGS)
def test_plain_gradients_are_the_same_and_have_a_forward_mode(label_smoothing, z_loss):
  logits, *others = make()

  def both(logits, plain):
    sums = cross_entropy(logits, *others, label_smoothing, z_loss, plain_gradients=plain)
    return sums[0] + 3 * sums[1]

  written, derived = (jax.jit(jax.grad(both), static_argnums=1)(logits, p) for p in (False, True))
  np.testing.assert_allclose(written, derived, atol=1e-5)
  along = np.where(np.arange(V) < TOKENS, np.random.default_rng(4).normal(size=logits.shape), 0)
  along = along.astype(np.float32)
  _, slope = jax.jvp(lambda logits: both(logits, True), (logits,), (along,))
  np.testing.assert_allclose(slope, (written * along).sum(), rtol=1e-4)
  with pytest.raises(TypeError, match="forward-mode"):
    jax.jvp(lambda logits: both(logits, False), (logits,), (along,))


def test_low_precision_logits_are_summed_in_float32():
  logits, targets, weights = make()
  low = jnp.asarray(np.clip(logits, -30, 30), jnp.bfloat16)
  low = low.at[..., TOKENS:].set(jnp.finfo(jnp.bfloat16).min)
  sums = cross_entropy(low, targets, weights, 0.1, 0.01)
  expected = in_float64(np.asarray(low, np.float32), targets, weights, 0.1, 0.01)
  np.testing.assert_allclose(sums, expected, rtol=1e-5)


def test_weight_zero_hides_a_token_and_its_gradient():
  logits, targets, weights = make()
  weights[:, 3:] = 0.0
  other = logits.copy()
  other[:, 3:, :TOKENS] += 7.0
  sums = cross_entropy(logits, targets, weights, 0.1, 0.01)
  assert sums == cross_entropy(other, targets, weights, 0.1, 0.01)
  grad = jax.jit(jax.grad(lambda x: cross_entropy(x, targets, weights, 0.1, 0.01)[0]))(logits)
  assert not np.any(grad[:, 3:])
  assert np.all(np.any(grad, axis=-1) == (weights > 0))


def test_token_zero_counts_where_its_weight_says_so():
  logits, targets, weights = make()
  targets[:] = 0
  np.testing.assert_allclose(
    cross_entropy(logits, targets, weights), in_float64(logits, targets, weights, 0, 0), rtol=1e-5
  )


def test_no_gradient_to_tokens_that_do_not_exist():
  logits, targets, weights = make()
  grad = jax.jit(jax.grad(lambda x: cross_entropy(x, targets, weights, 0.1, 0.01)[0]))(logits)
  assert not np.any(grad[..., TOKENS:])
  assert np.all(np.isfinite(grad))


def head(params, hidden):
  """Logits of a table that is tied, as in a model: it also made the hidden states."""
  logits = jnp.einsum("btd,vd->btv", hidden, params["table"])
  logits = logits + params["bias"].reshape(1, 1, V)
  exists = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2) < TOKENS
  return jnp.where(exists, logits, jnp.finfo(logits.dtype).min)


@pytest.fixture(scope="module")
def params():
  rng = np.random.default_rng(3)
  shapes = {"table": (V, D), "bias": (V,), "deep": (D, D)}
  return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def loss_of(chunks, targets, weights, scale, label_smoothing=0.1, z_loss=0.02, plain=False):
  """A function of (params, ids) in which the table is used before the head and in it."""

  def loss(params, ids):
    hidden = jnp.tanh(params["table"][ids] @ params["deep"])
    if chunks:
      sums = chunked_cross_entropy(
        lambda hidden: head(params, hidden),
        hidden,
        targets,
        weights,
        chunks=chunks,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        plain_gradients=plain,
      )
    else:
      sums = cross_entropy(head(params, hidden), targets, weights, label_smoothing, z_loss)
    return sums[0] * scale, sums[1]

  return loss


@pytest.fixture(scope="module")
def whole(params):
  """Targets, weights and ids, and the sums and gradients that they have in one piece."""
  _, targets, weights = make()
  ids = np.random.default_rng(5).integers(0, TOKENS, (B, T))
  function = jax.value_and_grad(loss_of(0, targets, weights, 1.0), has_aux=True)
  return targets, weights, ids, jax.jit(function)(params, ids)


@pytest.mark.parametrize(
  ("chunks", "scale", "transform", "plain"),
  [
    (1, 1.0, jax.jit, False),
    (2, 3.0, jax.jit, False),
    (8, -0.5, jax.jit, False),
    (4, 3.0, lambda f: f, False),
    (4, 3.0, jax.jit, True),
  ],
)
def test_chunks_change_neither_value_nor_gradient(params, whole, chunks, scale, transform, plain):
  targets, weights, ids, ((whole_loss, whole_nll), whole_grads) = whole
  function = loss_of(chunks, targets, weights, scale, plain=plain)
  function = jax.value_and_grad(function, has_aux=True)
  (loss, nll), grads = transform(function)(params, ids)
  np.testing.assert_allclose([loss, nll], [whole_loss * scale, whole_nll], rtol=1e-5)
  for name in params:
    assert np.any(whole_grads[name])
    np.testing.assert_allclose(grads[name], whole_grads[name] * scale, rtol=1e-4, atol=1e-5)


def test_chunks_give_the_gradient_of_hidden_alone():
  _, targets, weights = make()
  table = np.random.default_rng(1).normal(size=(V, D)).astype(np.float32)
  hidden = np.random.default_rng(2).normal(size=(B, T, D)).astype(np.float32)

  def project(hidden):
    return jnp.einsum("btd,vd->btv", hidden, table)

  grad = jax.grad(lambda h: chunked_cross_entropy(project, h, targets, weights, chunks=4)[0])
  whole = jax.grad(lambda h: cross_entropy(project(h), targets, weights)[0])
  np.testing.assert_allclose(jax.jit(grad)(hidden), jax.jit(whole)(hidden), rtol=1e-4, atol=1e-6)


def test_hidden_states_may_be_a_tree():
  _, targets, weights = make()
  rng = np.random.default_rng(6)
  hidden = {"states": rng.normal(size=(B, T, D)), "scale": rng.normal(size=(B, T))}
  hidden = {name: x.astype(np.float32) for name, x in hidden.items()}
  rows, table = rng.integers(0, V, (B, 3)), rng.normal(size=(V, D)).astype(np.float32)

  def project(hidden, rows):
    logits = jnp.einsum("btd,vd->btv", hidden["states"], table) * hidden["scale"][..., None]
    return logits + jax.nn.one_hot(rows, V).sum(1)[:, None]

  def chunked(hidden, rows):
    return chunked_cross_entropy(
      lambda hidden: project(hidden, rows), hidden, targets, weights, chunks=4
    )[0]

  found = jax.jit(jax.grad(chunked))(hidden, rows)
  whole = jax.grad(lambda hidden: cross_entropy(project(hidden, rows), targets, weights)[0])(hidden)
  for name in hidden:
    np.testing.assert_allclose(found[name], whole[name], rtol=1e-4, atol=1e-6)


def test_without_a_gradient_the_sums_are_the_same(params, whole):
  targets, weights, ids, (sums, _) = whole
  loss = loss_of(4, targets, weights, 1.0)
  np.testing.assert_allclose(jax.jit(loss)(params, ids), sums, rtol=1e-5)


@pytest.mark.parametrize("plain", [False, True])
def test_all_logits_never_exist_at_once(params, plain):
  _, targets, weights = make()
  loss = loss_of(4, targets, weights, 1.0, plain=plain)
  program = str(jax.make_jaxpr(jax.grad(loss, has_aux=True))(params, np.zeros((B, T), int)))
  assert f"f32[{B},{T // 4},{V}]" in program
  assert f"f32[{B},{T},{V}]" not in program

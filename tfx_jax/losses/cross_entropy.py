"""Training losses as sums over tokens: a caller that needs a mean divides once, at the end."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tfx_jax.common.tree import Tree
from tfx_jax.layers.gradients import with_written_gradient

# Hidden states, an array or a tree of arrays [B,T,…] -> logits [B,T,V].
Head = Callable[[Tree], jax.Array]


def cross_entropy(
  logits: jax.Array,
  targets: jax.Array,
  weights: jax.Array,
  label_smoothing: float = 0.0,
  z_loss: float = 0.0,
  r_drop: float = 0.0,
  *,
  plain_gradients: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """Returns weighted sums over tokens of the training loss and of the cross-entropy, in nats.

  With label smoothing s, the target distribution gives 1 - s to the target and s evenly to all V
  tokens (Szegedy et al. 2016, arXiv:1512.00567, section 7). `z_loss` adds log(Z)^2 (Chowdhery et
  al. 2022, arXiv:2204.02311, section 5). `r_drop` adds the divergence between two predictions for
  one row under two dropout masks, neighbours in the batch: half the sum of both directions' KL for
  each pair (Liang et al. 2021, arXiv:2106.14448, eq. 4).

  Args:
    logits: [B,T,V]; entries at the dtype's minimum are tokens that do not exist.
    targets: int32 [B,T].
    weights: [B,T].
    label_smoothing: s.
    z_loss: weight of the z-loss.
    r_drop: weight of the divergence between rows 2i and 2i+1; B is then even.
    plain_gradients: whether JAX derives the gradient, see `layers/gradients.py`.

  Returns:
    (loss sum, cross-entropy sum), scalars. Only logits are differentiated, unless the gradients are
    plain.
  """
  loss, nll = _cross_entropy(
    label_smoothing, z_loss, logits, targets, weights, plain_gradients=plain_gradients
  )
  if r_drop:
    loss = loss + r_drop * (_divergence(logits) * weights).sum()
  return loss, nll


def _plain(
  label_smoothing: float, z_loss: float, logits: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Computes `cross_entropy` without R-Drop."""
  return _forward(label_smoothing, z_loss, logits, targets, weights)[0]


def _forward(
  label_smoothing: float, z_loss: float, logits: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple:
  x = logits.astype(jnp.float32)
  log_z = jax.nn.logsumexp(x, axis=-1)  # [B,T,V] -> [B,T]
  nll = log_z - _at_targets(x, targets)
  loss = nll
  if label_smoothing:
    # Mean of the logits that exist. A product, since a masked copy would first be written.
    mean = jnp.einsum("btv,v->bt", x, _uniform(logits), precision="highest")
    loss = (1 - label_smoothing) * nll + label_smoothing * (log_z - mean)
  if z_loss:
    loss = loss + z_loss * jnp.square(log_z)
  return ((loss * weights).sum(), (nll * weights).sum()), (logits, targets, weights, log_z)


def _backward(label_smoothing: float, z_loss: float, saved: tuple, cotangents: tuple) -> tuple:
  """Computes the logits' gradient in one pass over them.

  The gradient that JAX derives saves several arrays [B,T,V] and writes some of them twice.
  """
  logits, targets, weights, log_z = saved
  of_loss, of_nll = cotangents
  probs = jnp.exp(logits.astype(jnp.float32) - log_z[..., None])
  scale = of_loss * (1 + 2 * z_loss * log_z) + of_nll
  at_target = of_loss * (1 - label_smoothing) + of_nll
  grad = scale[..., None] * probs - jnp.where(_is_target(logits, targets), at_target, 0.0)
  if label_smoothing:
    grad = grad - (of_loss * label_smoothing * _uniform(logits))[None, None]
  grad = (grad * weights[..., None]).astype(logits.dtype)
  return grad, np.zeros(targets.shape, jax.dtypes.float0), jnp.zeros_like(weights)


_cross_entropy = with_written_gradient(_plain, _forward, _backward, num_static=2)


def log_probs(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns the targets' log-probabilities in nats: logits [B,T,V], int32 [B,T] -> [B,T]."""
  x = logits.astype(jnp.float32)
  return _at_targets(x, targets) - jax.nn.logsumexp(x, axis=-1)


def _at_targets(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """Gathers each target's logit, [B,T,V] -> [B,T], without gathering a sharded vocabulary."""
  return jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]


def _is_target(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns bool [B,T,V], true at targets: a comparison with an iota, which fuses."""
  return jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2) == targets[..., None]


def _exists(logits: jax.Array) -> jax.Array:
  """Returns bool [B,T,V], true for tokens that exist."""
  return logits > jnp.finfo(logits.dtype).min


def _uniform(logits: jax.Array) -> jax.Array:
  """Returns the uniform distribution over tokens that exist, float32 [V].

  These are the same at every position: the first one's are looked at.
  """
  exists = _exists(logits[0, 0]).astype(jnp.float32)
  return exists / exists.sum()


def _divergence(logits: jax.Array) -> jax.Array:
  """Returns a quarter of KL(p|q) + KL(q|p) for neighbours p and q: [B,T,V] -> [B,T].

  Each of the two rows gets the same value; together they have half of the sum.
  """
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
  probs = jnp.exp(log_probs).reshape(-1, 2, *logits.shape[1:])  # [B,T,V] -> [B/2,2,T,V]
  # Tokens that do not exist have probability 0, and log-probabilities that may not be finite.
  log_probs = jnp.where(_exists(logits), log_probs, 0.0).reshape(probs.shape)
  products = (probs[:, 0] - probs[:, 1]) * (log_probs[:, 0] - log_probs[:, 1])  # [B/2,T,V]
  return jnp.repeat(products.sum(axis=-1) / 4, 2, axis=0)  # [B/2,T] -> [B,T]


def chunked_cross_entropy(
  head: Head,
  hidden: Tree,
  targets: jax.Array,
  weights: jax.Array,
  *,
  chunks: int,
  plain_gradients: bool = False,
  **settings: float,
) -> tuple[jax.Array, jax.Array]:
  """Returns `cross_entropy` of `head(hidden)`, computed in `chunks` along T.

  The logits [B,T,V] never exist as a whole. The gradient of a chunk is computed while its logits
  are in memory, so nothing is computed twice; only the first of the two sums can be differentiated.
  If the gradients are plain, both can, and the backward pass computes each chunk's logits again.

  Args:
    head: hidden [B,T,…] -> logits [B,T,V]; gradients reach the arrays that it closes over.
    hidden: floats [B,T,D], or a tree of floats [B,T,…]; T is a multiple of `chunks`.
    targets: int32 [B,T].
    weights: [B,T].
    chunks: their number.
    plain_gradients: whether JAX derives the gradient, see `layers/gradients.py`.
    **settings: settings of `cross_entropy`.
  """
  inputs = split((hidden, targets, weights), chunks)
  # What the head closes over becomes `consts`, arguments, since a written gradient is of arguments.
  head, consts = jax.closure_convert(head, jax.tree.map(lambda x: x[0], inputs[0]))

  def chunk_sums(
    consts: tuple, hidden: Tree, targets: jax.Array, weights: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    logits = head(hidden, *consts)
    return cross_entropy(logits, targets, weights, **settings, plain_gradients=plain_gradients)

  def plain(consts: tuple, inputs: tuple) -> tuple[jax.Array, jax.Array]:
    again = jax.checkpoint(chunk_sums, prevent_cse=False)
    losses, nlls = jax.lax.map(lambda chunk: again(consts, *chunk), inputs)
    return losses.sum(), nlls.sum()

  def forward(consts: tuple, inputs: tuple) -> tuple:
    def body(carry: tuple, chunk: tuple) -> tuple:
      sums, grads = carry
      hidden, targets, weights = chunk
      loss, pull, nll = jax.vjp(
        lambda consts, hidden: chunk_sums(consts, hidden, targets, weights),
        *(consts, hidden),
        has_aux=True,
      )
      grad, hidden_grad = pull(jnp.ones_like(loss))
      return (_add(sums, (loss, nll)), _add(grads, grad)), hidden_grad

    zero = jnp.zeros((), jnp.float32)
    start = ((zero, zero), jax.tree.map(jnp.zeros_like, tuple(consts)))
    (sums, grads), hidden_grads = jax.lax.scan(body, start, inputs)
    return sums, (grads, hidden_grads, inputs)

  def backward(saved: tuple, cotangents: tuple) -> tuple:
    grads, hidden_grads, (_, targets, weights) = saved
    scaled = jax.tree.map(lambda x: (x * cotangents[0]).astype(x.dtype), (grads, hidden_grads))
    no_ids = jnp.zeros(targets.shape, jax.dtypes.float0)
    return scaled[0], (scaled[1], no_ids, jnp.zeros_like(weights))

  total = with_written_gradient(plain, forward, backward)
  return total(tuple(consts), inputs, plain_gradients=plain_gradients)


def split(tree: Tree, chunks: int) -> Tree:
  """Cuts arrays [B,T,…] into `chunks` along T: [chunks,B,T/chunks,…].

  Strided, so that where T is sharded each device has an equal part of every chunk.
  """

  def chunked(x: jax.Array) -> jax.Array:
    x = x.reshape(x.shape[0], -1, chunks, *x.shape[2:])  # [B,T,…] -> [B,T/chunks,chunks,…]
    return jnp.moveaxis(x, 2, 0)  # -> [chunks,B,T/chunks,…]

  return jax.tree.map(chunked, tree)


def _add(x: tuple, y: tuple) -> tuple:
  return jax.tree.map(jnp.add, x, y)

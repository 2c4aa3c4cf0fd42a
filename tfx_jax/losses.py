"""Training losses as (sum, weight): whoever needs a mean divides once, at the end."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Hidden states are an array or a tree of arrays [B,T,…].
Head = Callable[[Any], jax.Array]


def cross_entropy(
  logits: jax.Array,
  targets: jax.Array,
  weights: jax.Array,
  label_smoothing: float = 0.0,
  z_loss: float = 0.0,
  r_drop: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
  """Weighted sums over tokens of the training loss and of the plain cross-entropy, in nats.

  The target distribution gives 1 - s to the target and s evenly to all V tokens (Szegedy et al.
  2016, arXiv:1512.00567, section 7). `z_loss` weighs log(Z)^2 (Chowdhery et al. 2022,
  arXiv:2204.02311, section 5). `r_drop` weighs how far the predictions for a row under two
  dropout masks, neighbours in the batch, are apart: half the sum of the divergences both ways for
  each pair (Liang et al. 2021, arXiv:2106.14448, eq. 4).

  Args:
    logits: [B,T,V]; entries at the dtype's minimum are tokens that do not exist.
    targets: int32 [B,T].
    weights: [B,T].
    label_smoothing: s.
    z_loss: weight of the z-loss.
    r_drop: weight of the divergence between rows 2i and 2i+1; B is then even.

  Returns:
    (loss sum, cross-entropy sum), scalars. Only logits are differentiated.
  """
  loss, nll = _cross_entropy(label_smoothing, z_loss, logits, targets, weights)
  if r_drop:
    loss = loss + r_drop * (_divergence(logits) * weights).sum()
  return loss, nll


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _cross_entropy(
  label_smoothing: float, z_loss: float, logits: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """`cross_entropy` without R-Drop.

  Its gradient is written out: one pass over the logits, where the one that is derived keeps several
  arrays [B,T,V] and writes some of them twice.
  """
  return _forward(label_smoothing, z_loss, logits, targets, weights)[0]


def _forward(
  label_smoothing: float, z_loss: float, logits: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple:
  x = logits.astype(jnp.float32)
  log_z = jax.nn.logsumexp(x, axis=-1)
  nll = log_z - _of_target(x, targets)
  loss = nll
  if label_smoothing:
    # A product, since a masked copy of the logits would first be written.
    mean = jnp.einsum("btv,v->bt", x, _uniform(logits), precision="highest")
    loss = (1 - label_smoothing) * nll + label_smoothing * (log_z - mean)
  if z_loss:
    loss = loss + z_loss * jnp.square(log_z)
  return ((loss * weights).sum(), (nll * weights).sum()), (logits, targets, weights, log_z)


def _backward(label_smoothing: float, z_loss: float, saved: tuple, cotangents: tuple) -> tuple:
  logits, targets, weights, log_z = saved
  of_loss, of_nll = cotangents
  probs = jnp.exp(logits.astype(jnp.float32) - log_z[..., None])
  scale = of_loss * (1 + 2 * z_loss * log_z) + of_nll
  hit = of_loss * (1 - label_smoothing) + of_nll
  grad = scale[..., None] * probs - jnp.where(_is_target(logits, targets), hit, 0.0)
  if label_smoothing:
    grad = grad - (of_loss * label_smoothing * _uniform(logits))[None, None]
  grad = (grad * weights[..., None]).astype(logits.dtype)
  return grad, np.zeros(targets.shape, jax.dtypes.float0), jnp.zeros_like(weights)


_cross_entropy.defvjp(_forward, _backward)


def log_probs(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """The log-probability in nats [B,T] of each of the `targets`, int32 [B,T]; logits are [B,T,V]."""
  x = logits.astype(jnp.float32)
  return _of_target(x, targets) - jax.nn.logsumexp(x, axis=-1)


def _of_target(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """Each target's entry of logits [B,T,V]: [B,T]. A sharded vocabulary stays put."""
  return jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]


def _is_target(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """Which entries are targets, bool [B,T,V]: a comparison with an iota, which fuses."""
  return jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2) == targets[..., None]


def _exists(logits: jax.Array) -> jax.Array:
  """Which entries are tokens, bool [B,T,V]."""
  return logits > jnp.finfo(logits.dtype).min


def _uniform(logits: jax.Array) -> jax.Array:
  """Even over the tokens there are, which are the same at every place: float32 [V]."""
  exists = _exists(logits[0, 0]).astype(jnp.float32)
  return exists / exists.sum()


def _divergence(logits: jax.Array) -> jax.Array:
  """A quarter of KL(p|q) + KL(q|p) for both of the neighbours p and q: [B,T,V] -> [B,T]."""
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
  probs = jnp.exp(log_probs).reshape(-1, 2, *logits.shape[1:])
  pairs = jnp.where(_exists(logits), log_probs, 0.0).reshape(probs.shape)
  both = ((probs[:, 0] - probs[:, 1]) * (pairs[:, 0] - pairs[:, 1])).sum(axis=-1) / 4
  return jnp.repeat(both, 2, axis=0)


def chunked_cross_entropy(
  head: Head,
  hidden: Any,
  targets: jax.Array,
  weights: jax.Array,
  *,
  chunks: int,
  **settings: float,
) -> tuple[jax.Array, jax.Array]:
  """`cross_entropy` of `head(hidden)`, in `chunks` along T, the logits of one held at a time.

  The gradient of a chunk is taken while its logits are at hand, so nothing is computed twice and
  [B,T,V] never exists. Only the first of the two sums can be differentiated.

  Args:
    head: hidden [B,T,…] -> logits [B,T,V]; what it closes over may be differentiated too.
    hidden: floats [B,T,D], or a tree of floats [B,T,…]; T is a multiple of `chunks`.
    targets: int32 [B,T].
    weights: [B,T].
    chunks: how many.
    **settings: of `cross_entropy`.
  """
  pieces = split((hidden, targets, weights), chunks)
  head, consts = jax.closure_convert(head, jax.tree.map(lambda x: x[0], pieces[0]))

  def sums(consts: tuple, hidden: Any, *target: jax.Array) -> tuple[jax.Array, jax.Array]:
    return cross_entropy(head(hidden, *consts), *target, **settings)

  @jax.custom_vjp
  def total(consts: tuple, pieces: tuple) -> tuple[jax.Array, jax.Array]:
    parts = jax.lax.map(lambda piece: sums(consts, *piece), pieces)
    return tuple(part.sum() for part in parts)

  def forward(consts: tuple, pieces: tuple) -> tuple:
    def body(carry: tuple, piece: tuple) -> tuple:
      losses, grads = carry
      hidden, *target = piece
      loss, pull, nll = jax.vjp(
        lambda consts, hidden: sums(consts, hidden, *target), consts, hidden, has_aux=True
      )
      grad, hidden_grad = pull(jnp.ones_like(loss))
      return (_add(losses, (loss, nll)), _add(grads, grad)), hidden_grad

    zero = jnp.zeros((), jnp.float32)
    start = ((zero, zero), jax.tree.map(jnp.zeros_like, tuple(consts)))
    (losses, grads), hidden_grads = jax.lax.scan(body, start, pieces)
    return losses, (grads, hidden_grads, pieces)

  def backward(saved: tuple, cotangents: tuple) -> tuple:
    grads, hidden_grads, (_, targets, weights) = saved
    scaled = jax.tree.map(lambda x: (x * cotangents[0]).astype(x.dtype), (grads, hidden_grads))
    no_ids = jnp.zeros(targets.shape, jax.dtypes.float0)
    return scaled[0], (scaled[1], no_ids, jnp.zeros_like(weights))

  total.defvjp(forward, backward)
  return total(tuple(consts), pieces)


def split(tree: Any, chunks: int) -> Any:
  """Cuts arrays [B,T,…] into `chunks` pieces along T: [chunks,B,T/chunks,…].

  Strided, so that each device has as much of every piece where T is split over devices.
  """
  return jax.tree.map(
    lambda x: jnp.moveaxis(x.reshape(x.shape[0], -1, chunks, *x.shape[2:]), 2, 0), tree
  )


def _add(x: tuple, y: tuple) -> tuple:
  return jax.tree.map(jnp.add, x, y)

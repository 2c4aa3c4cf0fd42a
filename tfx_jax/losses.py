"""Training losses as (sum, weight): whoever needs a mean divides once, at the end."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Head = Callable[[jax.Array], jax.Array]


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
    (loss sum, cross-entropy sum), scalars.
  """
  exists = logits > jnp.finfo(logits.dtype).min
  logits = logits.astype(jnp.float32)
  log_z = jax.nn.logsumexp(logits, axis=-1)
  # A comparison with an iota instead of a gather: it fuses, and a sharded vocabulary stays put.
  is_target = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2) == targets[..., None]
  nll = log_z - jnp.where(is_target, logits, 0.0).sum(axis=-1)
  loss = nll
  if label_smoothing:
    mean = jnp.where(exists, logits, 0.0).sum(axis=-1) / exists.sum(axis=-1)
    loss = (1 - label_smoothing) * nll + label_smoothing * (log_z - mean)
  if z_loss:
    loss = loss + z_loss * jnp.square(log_z)
  if r_drop:
    loss = loss + r_drop * _divergence(jnp.where(exists, logits - log_z[..., None], 0.0), exists)
  return (loss * weights).sum(), (nll * weights).sum()


def _divergence(log_probs: jax.Array, exists: jax.Array) -> jax.Array:
  """A quarter of KL(p|q) + KL(q|p) for both of the neighbours p and q: [B,T,V] -> [B,T]."""
  pairs = log_probs.reshape(-1, 2, *log_probs.shape[1:])
  probs = jnp.where(exists, jnp.exp(log_probs), 0.0).reshape(pairs.shape)
  both = ((probs[:, 0] - probs[:, 1]) * (pairs[:, 0] - pairs[:, 1])).sum(axis=-1) / 4
  return jnp.repeat(both, 2, axis=0)


def chunked_cross_entropy(
  head: Head,
  hidden: jax.Array,
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
    head: hidden [B,T,D] -> logits [B,T,V]; what it closes over may be differentiated too.
    hidden: [B,T,D]; T is a multiple of `chunks`.
    targets: int32 [B,T].
    weights: [B,T].
    chunks: how many.
    **settings: of `cross_entropy`.
  """
  split = hidden.reshape(hidden.shape[0], chunks, -1, hidden.shape[2])
  head, consts = jax.closure_convert(head, split[:, 0])

  def sums(consts: tuple, hidden: jax.Array, *target: jax.Array) -> tuple[jax.Array, jax.Array]:
    return cross_entropy(head(hidden, *consts), *target, **settings)

  pieces = tuple(
    jnp.moveaxis(x.reshape(x.shape[0], chunks, -1, *x.shape[2:]), 1, 0)
    for x in (hidden, targets, weights)
  )

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


def _add(x: tuple, y: tuple) -> tuple:
  return jax.tree.map(jnp.add, x, y)

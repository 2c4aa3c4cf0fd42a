"""Masked places of targets, and the loss of their lengths."""

import math

import jax
import jax.numpy as jnp


def masked_places(key: jax.Array, segments: jax.Array) -> jax.Array:
  """Returns random places of packed targets, bool [B,T].

  Each target has a share cos(pi/2 * u) of its places, u uniform from 0 to 1.

  Args:
    key: the random key.
    segments: int32 [B,T], number of the target in its row, from 1; 0 for padding.
  """
  share_key, place_key = jax.random.split(key)
  rows, length = segments.shape
  # A share for each possible target of a row, [B,T+1], then for each place, [B,T].
  shares = jnp.cos(math.pi / 2 * jax.random.uniform(share_key, (rows, length + 1)))
  shares = jnp.take_along_axis(shares, segments, axis=1)
  return (jax.random.uniform(place_key, segments.shape) < shares) & (segments > 0)


def length_cross_entropy(
  logits: jax.Array, sources: jax.Array, targets: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the summed cross-entropy of the targets' lengths in nats, and the number of targets.

  A length is predicted at the last place of its source.

  Args:
    logits: float32 [B,S,L], of lengths 0 to L - 1; longer ones count as L - 1.
    sources: int32 [B,S], segments of sources.
    targets: int32 [B,T], segments of targets; each has the number of its source.
  """
  following = jnp.pad(sources[:, 1:], ((0, 0), (0, 1)))
  last = (sources > 0) & (sources != following)  # [B,S]
  lengths = (sources[:, :, None] == targets[:, None, :]).sum(axis=2)  # [B,S,T] -> [B,S]
  lengths = jnp.minimum(lengths, logits.shape[-1] - 1)
  log_probs = jax.nn.log_softmax(logits)
  nll = -jnp.take_along_axis(log_probs, lengths[:, :, None], axis=2)[:, :, 0]  # [B,S,L] -> [B,S]
  return (nll * last).sum(), last.sum().astype(jnp.float32)

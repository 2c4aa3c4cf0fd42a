"""Several models as one: their probabilities of the next token are averaged."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Batch = Mapping[str, jax.Array]


class Ensemble(nn.Module):
  """A model whose next-token probabilities are the mean of its members'.

  It has their methods: hidden states and cache are tuples of theirs, and who searches or scores
  with it need not know that they are several.

  Attributes:
    members: models of the same tokens; their architectures may differ.
  """

  members: tuple[nn.Module, ...]

  def __call__(self, batch: Batch) -> tuple[Any, ...]:
    """Hidden states of each member, [B,T,…]."""
    return tuple(member(batch) for member in self.members)

  def logits(self, hidden: tuple[Any, ...], context: jax.Array | None = None) -> jax.Array:
    """Log-probabilities [B,T,V] of such hidden states; the context is that of every member."""
    pairs = zip(self.members, hidden, strict=True)
    return _log_mean([member.logits(own, context) for member, own in pairs])

  def attention(self, batch: Batch, layer: int) -> jax.Array:
    """The mean of the members' weights on the source, [B,T,S]."""
    return _mean([member.attention(batch, layer) for member in self.members])

  def prefill(
    self, batch: Batch, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[jax.Array, tuple[Any, ...]]:
    """As of a model; the cache is a tuple of the members' caches."""
    found = [member.prefill(batch, length, width, alignment_layer) for member in self.members]
    logits, caches = zip(*found, strict=True)
    return _log_mean(logits), caches

  def decode(
    self, tokens: jax.Array, parents: jax.Array, cache: tuple[Any, ...]
  ) -> tuple[jax.Array, tuple[Any, ...]]:
    """As of a model; the cache is a tuple of the members' caches."""
    pairs = zip(self.members, cache, strict=True)
    logits, caches = zip(
      *(member.decode(tokens, parents, own) for member, own in pairs), strict=True
    )
    return _log_mean(logits), caches


def combine(models: Sequence[nn.Module], params: Sequence[Any]) -> tuple[Ensemble, dict[str, Any]]:
  """The ensemble of models, each with its parameters, and the parameters of all."""
  # A copy of each: one object that is given twice would be one member with one set of parameters.
  members = tuple(model.clone() for model in models)
  return Ensemble(members), dict(zip(_names(members), params, strict=True))


def _names(members: Sequence[nn.Module]) -> list[str]:
  """What Flax calls the members' parameters."""
  return [f"members_{i}" for i in range(len(members))]


def _mean(arrays: Sequence[jax.Array]) -> jax.Array:
  return sum(arrays) / len(arrays)


def _log_mean(logits: Sequence[jax.Array]) -> jax.Array:
  """The logarithm of the mean of the probabilities, [...,V]."""
  # Beyond the tokens there is padding, which has no probability, to a multiple of each model's own.
  size = min(x.shape[-1] for x in logits)
  log_probs = [jax.nn.log_softmax(x.astype(jnp.float32))[..., :size] for x in logits]
  return jax.nn.logsumexp(jnp.stack(log_probs), axis=0) - jnp.log(len(logits))

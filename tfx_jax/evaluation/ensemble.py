"""Several models as one: their probabilities of the next token are averaged."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Batch = Mapping[str, jax.Array]


class Ensemble(nn.Module):
  """A model whose next-token probabilities are the mean of its members'.

  It has their methods: hidden states are theirs side by side, the cache is a tuple of theirs, and
  who searches or scores with it need not know that they are several.

  Attributes:
    members: models of the same tokens; their architectures may differ.
  """

  members: tuple[nn.Module, ...]

  def __call__(self, batch: Batch) -> jax.Array:
    """Hidden states of all members, [B,T,D], D that of all together."""
    return jnp.concatenate([member(batch) for member in self.members], axis=-1)

  def logits(self, hidden: jax.Array) -> jax.Array:
    """Log-probabilities [B,T,V] of such hidden states."""
    logits, start = [], 0
    for member in self.members:
      logits.append(member.logits(hidden[..., start : start + member.features]))
      start += member.features
    return _log_mean(logits)

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

  def coverage(self, cache: tuple[Any, ...]) -> jax.Array:
    """The mean of the members' coverage, [B,W,S]."""
    pairs = zip(self.members, cache, strict=True)
    return _mean([member.coverage(own) for member, own in pairs])


def combine(models: Sequence[nn.Module], params: Sequence[Any]) -> tuple[Ensemble, dict[str, Any]]:
  """The ensemble of models, each with its parameters, and the parameters of all."""
  # A copy of each: one object that is given twice would be one member with one set of parameters.
  members = tuple(model.clone() for model in models)
  return Ensemble(members), {f"members_{i}": own for i, own in enumerate(params)}


def _mean(arrays: Sequence[jax.Array]) -> jax.Array:
  return sum(arrays) / len(arrays)


def _log_mean(logits: Sequence[jax.Array]) -> jax.Array:
  """The logarithm of the mean of the probabilities, [...,V]."""
  # Beyond the tokens there is padding, which has no probability, to a multiple of each model's own.
  size = min(x.shape[-1] for x in logits)
  log_probs = [jax.nn.log_softmax(x.astype(jnp.float32))[..., :size] for x in logits]
  return jax.nn.logsumexp(jnp.stack(log_probs), axis=0) - jnp.log(len(logits))

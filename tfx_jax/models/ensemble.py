"""Several models as one: their probabilities of the next token are averaged."""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from tfx_jax.layers.head import FrameOutput
from tfx_jax.models.model import Batch, BoundModel, Cache, Hidden, Model, Output, Params, Prompt


class Ensemble:
  """A model whose next-token probabilities are the mean of its members'.

  Its parameters are those of each member under `member_names`; hidden states and cache are tuples
  of the members'.

  Args:
    members: models of the same tokens; their architectures may differ.
  """

  def __init__(self, members: Sequence[Model]):
    self.members = tuple(members)

  def init(self, rngs: jax.Array, batch: Batch) -> dict[str, Params]:
    """Returns new variables of each member, from keys of their own."""
    keys = jax.random.split(rngs, len(self.members))
    pairs = zip(self.members, keys, strict=True)
    return {"params": self.params([m.init(key, batch)["params"] for m, key in pairs])}

  def bind(
    self, variables: Mapping[str, Params], *, rngs: dict[str, jax.Array] | None = None
  ) -> "BoundEnsemble":
    """Returns the ensemble with parameters."""
    params = variables["params"]
    pairs = zip(self.members, member_names(len(self.members)), strict=True)
    return BoundEnsemble([m.bind({"params": params[name]}, rngs=rngs) for m, name in pairs])

  def params(self, members: Sequence[Params]) -> dict[str, Params]:
    """Returns the ensemble's parameters, given those of each member."""
    return dict(zip(member_names(len(self.members)), members, strict=True))


class BoundEnsemble:
  """An ensemble with parameters; see `BoundModel` for the methods.

  Args:
    members: models with parameters.
  """

  def __init__(self, members: Sequence[BoundModel]):
    self.members = tuple(members)

  def __call__(self, batch: Batch) -> tuple[Hidden, ...]:
    """Returns the hidden states of each member."""
    return tuple(member(batch) for member in self.members)

  def logits(self, hidden: tuple[Hidden, ...], context: jax.Array | None = None) -> jax.Array:
    """Returns log-probabilities [B,T,V] of such hidden states; all members have one context."""
    pairs = zip(self.members, hidden, strict=True)
    return _log_mean([member.logits(states, context) for member, states in pairs])

  def attention(self, batch: Batch, layer: int) -> jax.Array:
    """Returns the mean of the members' attention to the source, [B,T,S]."""
    weights = [member.attention(batch, layer) for member in self.members]
    return functools.reduce(jnp.add, weights) / len(weights)

  def prefill(
    self, prompt: Prompt, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[jax.Array, tuple[Cache, ...]]:
    """Encodes prompts once; the cache is a tuple of the members' caches."""
    results = [m.prefill(prompt, length, width, alignment_layer) for m in self.members]
    logits, caches = zip(*results, strict=True)
    return _log_mean(logits), caches

  def decode(
    self, elements: jax.Array, parents: jax.Array, cache: tuple[Cache, ...]
  ) -> tuple[jax.Array, tuple[Cache, ...]]:
    """Decodes one step; the cache is a tuple of the members' caches."""
    pairs = zip(self.members, cache, strict=True)
    results = [member.decode(elements, parents, state) for member, state in pairs]
    logits, caches = zip(*results, strict=True)
    return _log_mean(logits), caches


def member_names(count: int) -> list[str]:
  """Returns the names of the members' parameters."""
  return [f"members_{i}" for i in range(count)]


def combine(
  models: Sequence[Model], params: Sequence[Params]
) -> tuple[Ensemble, dict[str, Params]]:
  """Returns the ensemble of models, and its parameters, given those of each model."""
  ensemble = Ensemble(models)
  return ensemble, ensemble.params(params)


def _log_mean(logits: Sequence[Output]) -> jax.Array:
  """Returns the logarithm of the mean of the probabilities, [...,V]."""
  # Vocabularies are padded to a multiple of each model's own: only common entries are tokens.
  arrays = [x for x in logits if not isinstance(x, FrameOutput)]
  size = min(x.shape[-1] for x in arrays)
  log_probs = [jax.nn.log_softmax(x.astype(jnp.float32))[..., :size] for x in arrays]
  return jax.nn.logsumexp(jnp.stack(log_probs), axis=0) - jnp.log(len(arrays))

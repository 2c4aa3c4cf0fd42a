"""Classifier-free guidance: what a source changes in a model's predictions is exaggerated."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from tfx_jax.layers.head import FrameOutput
from tfx_jax.models.model import Batch, BoundModel, Cache, Hidden, Model, Output, Params, Prompt


class Guided:
  """A model that reads rows in pairs, one with a source and one with an empty source.

  Its prediction for a pair has the logits e + s * (c - e), where c and e are the log-probabilities
  with and without the source, and s is the scale (Ho and Salimans 2022, arXiv:2207.12598; for
  tokens Sanchez et al. 2023, arXiv:2306.17806). Its parameters are `model`, those of the model, and
  the scalar `scale`.

  Args:
    model: a model of tokens that was trained with some empty sources.
  """

  def __init__(self, model: Model):
    self._model = model

  def init(self, rngs: jax.Array, batch: Batch) -> dict[str, Params]:
    """Returns new variables of the model, with scale 1."""
    return {"params": self.params(self._model.init(rngs, batch)["params"], 1.0)}

  def bind(
    self, variables: Mapping[str, Params], *, rngs: dict[str, jax.Array] | None = None
  ) -> "BoundGuided":
    """Returns the guided model with parameters."""
    params = variables["params"]
    return BoundGuided(self._model.bind({"params": params["model"]}, rngs=rngs), params["scale"])

  @staticmethod
  def params(model: Params, scale: float | jax.Array) -> dict[str, Params]:
    """Returns the parameters of a guided model, given those of the model."""
    return {"model": model, "scale": jnp.asarray(scale, jnp.float32)}


class BoundGuided:
  """A guided model with parameters; see `BoundModel` for the methods.

  Batches and prompts have 2B rows, the pairs one after the other. Outputs and tokens to decode have
  B rows. The cache has 2B rows.

  Args:
    model: the model with parameters.
    scale: s, scalar.
  """

  def __init__(self, model: BoundModel, scale: jax.Array):
    self._model, self._scale = model, scale

  def __call__(self, batch: Batch) -> Hidden:
    """Returns the model's hidden states of both rows of each pair."""
    return self._model(batch)

  def logits(self, hidden: Hidden, context: jax.Array | None = None) -> jax.Array:
    """Returns guided logits [B,T,V] of such hidden states."""
    return self._guide(self._model.logits(hidden, context))

  def attention(self, batch: Batch, layer: int) -> jax.Array:
    """Returns the attention to the sources that are not empty, [B,T,S]."""
    return self._model.attention(batch, layer)[::2]  # [2B,T,S] -> [B,T,S]

  def prefill(
    self, prompt: Prompt, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[jax.Array, Cache]:
    """Encodes pairs of prompts once; returns guided logits [B,V] and the cache."""
    output, cache = self._model.prefill(prompt, length, width, alignment_layer)
    return self._guide(output), cache

  def decode(
    self, elements: jax.Array, parents: jax.Array, cache: Cache
  ) -> tuple[jax.Array, Cache]:
    """Decodes one step of both rows of each pair with the same tokens [B,W]."""
    elements, parents = (jnp.repeat(x, 2, axis=0) for x in (elements, parents))  # [B,W] -> [2B,W]
    output, cache = self._model.decode(elements, parents, cache)
    return self._guide(output), cache

  def _guide(self, logits: Output) -> jax.Array:
    assert not isinstance(logits, FrameOutput), "only tokens have probabilities to guide"
    return guide(logits, self._scale)


def guide(logits: jax.Array, scale: jax.Array) -> jax.Array:
  """Returns the guided logits of pairs of rows, see `Guided`: [2B,…,V] -> float32 [B,…,V]."""
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
  given, empty = log_probs[::2], log_probs[1::2]
  return empty + scale * (given - empty)

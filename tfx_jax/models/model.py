"""The contracts of a model: the batches that it reads and the methods that it has.

Letters: B rows, S source length, T target length, P prompt length, C channels of a frame, D
features, V vocabulary, W beams or samples of a row. A side whose elements are tokens holds int32
ids; a side whose elements are frames holds float32 vectors and has one more axis, C.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypedDict

import jax

from tfx_jax.layers.head import FrameOutput

# A tree of arrays whose structure is the model's own.
Params = Any
# Hidden states, known only to the model that returned them: [B,T,D]; with a copy head `Pointed`; in
# an ensemble a tuple of its members'.
Hidden = Any
# The state of decoding: a `tfx_jax.layers.cache.Cache`, in an ensemble a tuple of its members'.
Cache = Any


# Logits [B,T,V] where targets are tokens.
Output = jax.Array | FrameOutput


class SourceBatch(TypedDict, total=False):
  """The source side of a batch; decoder-only models have none.

  Keys:
    inputs: [B,S] or [B,S,C].
    inputs_segments: int32 [B,S], number of the example in its row, from 1; 0 for padding.
    inputs_positions: int32 [B,S], position in the example, from 0.
  """

  inputs: jax.Array
  inputs_segments: jax.Array
  inputs_positions: jax.Array


class Batch(SourceBatch, total=False):
  """Examples to train on or to score.

  Keys:
    decoder_inputs: [B,T] or [B,T,C], the targets shifted by one within each example.
    targets: [B,T] or [B,T,C].
    weights: float32 [B,T], weight of each target in the loss; 0 for padding and prompts.
    targets_segments: int32 [B,T], as `inputs_segments`.
    targets_positions: int32 [B,T], as `inputs_positions`.
  """

  decoder_inputs: jax.Array
  targets: jax.Array
  weights: jax.Array
  targets_segments: jax.Array
  targets_positions: jax.Array


class Prompt(SourceBatch, total=False):
  """Inputs to generate from.

  Keys:
    prompt: [B,P] or [B,P,C], elements that the decoder reads before it generates, padded on the
      left. The first real one is BOS where the special tokens have one.
    prompt_segments: int32 [B,P], 1 for real elements, 0 for padding.
    prompt_positions: int32 [B,P], from 0 at the first real element.
  """

  prompt: jax.Array
  prompt_segments: jax.Array
  prompt_positions: jax.Array


class BoundModel(Protocol):
  """A model together with its parameters: the methods that compute something."""

  def __call__(self, batch: Batch) -> Hidden:
    """Returns the decoder's hidden states, each computed from the elements up to its own."""
    ...

  def logits(self, hidden: Hidden, context: jax.Array | None = None) -> Output:
    """Returns the output of hidden states [B,T,…], of whole rows or of chunks of them.

    Args:
      hidden: hidden states, as the model returns them.
      context: the inputs [B,S]; only a copy head reads them.
    """
    ...

  def attention(self, batch: Batch, layer: int) -> jax.Array:
    """Returns a decoder layer's attention to the source [B,T,S], averaged over its heads."""
    ...

  def prefill(
    self, prompt: Prompt, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[Output, Cache]:
    """Encodes sources and prompts once, and allocates a cache for decoding.

    Args:
      prompt: the inputs.
      length: decoding steps that the cache has capacity for.
      width: W.
      alignment_layer: the decoder layer whose attention to the source is summed for the coverage
        penalty; None for no such sum.

    Returns:
      the output for the first element to generate ([B,V], or frames [B,C] and stop [B]), and the
      cache.
    """
    ...

  def decode(self, elements: jax.Array, parents: jax.Array, cache: Cache) -> tuple[Output, Cache]:
    """Decodes one step.

    Args:
      elements: [B,W] or [B,W,C], the elements generated last.
      parents: int32 [B,W], the beam of the step before that each of them continues.
      cache: the cache, with capacity for one more step.

    Returns:
      the output for the next elements ([B,W,V], or frames [B,W,C] and stop [B,W]), and the cache.
    """
    ...


class Model(Protocol):
  """A model without parameters. Wrappers (LoRA, int8, ensembles) have these two methods as well."""

  def init(self, rngs: jax.Array, batch: Batch) -> Mapping[str, Params]:
    """Returns new variables, {"params": …}; leaves are boxed with the names of their axes."""
    ...

  def bind(
    self, variables: Mapping[str, Params], *, rngs: dict[str, jax.Array] | None = None
  ) -> BoundModel:
    """Returns the model with parameters; dropout is active if `rngs` has a key for it."""
    ...

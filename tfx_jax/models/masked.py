"""A Transformer whose decoder sees a whole target of which some tokens are masked.

It predicts all masked tokens at once: mask-predict (Ghazvininejad et al. 2019, arXiv:1904.09324)
for texts, MaskGIT (Chang et al. 2022, arXiv:2202.04200) for pictures.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.errors import UserError
from tfx_jax.layers.cache import Cache
from tfx_jax.models.encoder_decoder import EncoderDecoder, Hidden
from tfx_jax.models.model import Batch, BoundModel, Output, Params, Prompt, SourceBatch


class BoundMasked(BoundModel, Protocol):
  """The methods of a masked model with parameters."""

  def __call__(self, batch: Batch, memory: jax.Array | None = None) -> Hidden:
    """Returns the decoder's hidden states [B,T,D]; `memory` is the encoder's, if it is known."""
    ...

  def encode(self, batch: SourceBatch) -> jax.Array:
    """Returns the encoder's states [B,S,D]."""
    ...

  def lengths(self, memory: jax.Array) -> jax.Array | None:
    """Returns logits of target lengths at each source position, float32 [B,S,L], or None."""
    ...


class MaskedModel(Protocol):
  """A masked model without parameters, or a wrapper of one."""

  def bind(
    self, variables: Mapping[str, Params], *, rngs: dict[str, jax.Array] | None = None
  ) -> BoundMasked:
    """Returns the model with parameters; dropout is active if `rngs` has a key for it."""
    ...


class Masked(EncoderDecoder):
  """An encoder-decoder that is not causal, and may predict how long a target is.

  Its batches have masked targets, not shifted ones, as `decoder_inputs`.

  Attributes:
    length_head: makes the layer from an encoder state to logits of target lengths,
      [B,S,D] -> [B,S,L]; None where all targets have one length.
  """

  causal: bool = False
  length_head: Callable[[], nn.Module] | None = None

  def setup(self):
    super().setup()
    if self.length_head is not None:
      self.target_length = self.length_head()

  def __call__(self, batch: Batch, memory: jax.Array | None = None) -> Hidden:
    """Returns the decoder's hidden states [B,T,D]; `memory` is the encoder's, if it is known."""
    memory = self.encode(batch) if memory is None else memory
    if self.is_initializing():
      self.lengths(memory)
    return super().__call__(batch, memory)

  def lengths(self, memory: jax.Array) -> jax.Array | None:
    """Returns logits of target lengths at each source position, float32 [B,S,L], or None."""
    if self.length_head is None:
      return None
    return self.target_length(memory).astype(jnp.float32)  # [B,S,D] -> [B,S,L]

  def prefill(
    self, prompt: Prompt, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[Output, Cache]:
    """Raises UserError: nothing is generated from left to right."""
    raise UserError(
      "model.architecture='masked' does not generate from left to right: use 'encoder_decoder'"
    )

"""An autoencoder whose encoder and decoder are Transformers, with finite scalar quantization.

Each frame of a value becomes one code, which depends on the whole value, and each code becomes one
frame again. It is trained by the error of the frames alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers.block import Context
from tfx_jax.layers.dropout import Dropout
from tfx_jax.layers.mask import Mask
from tfx_jax.layers.quantize import codes_of, quantize, values_of
from tfx_jax.models.model import Params, SourceBatch


class BoundAutoencoder(Protocol):
  """The methods of an autoencoder with parameters."""

  def __call__(self, batch: SourceBatch) -> jax.Array:
    """Returns the reconstructed frames, float32 [B,S,C]."""
    ...

  def encode(self, batch: SourceBatch) -> jax.Array:
    """Returns the code of each frame, int32 [B,S]."""
    ...

  def decode(self, codes: jax.Array, batch: SourceBatch) -> jax.Array:
    """Returns the frames of codes [B,S], float32 [B,S,C]."""
    ...


class AutoencoderModel(Protocol):
  """An autoencoder without parameters."""

  def bind(
    self, variables: Mapping[str, Params], *, rngs: dict[str, jax.Array] | None = None
  ) -> BoundAutoencoder:
    """Returns the model with parameters; dropout is active if `rngs` has a key for it."""
    ...


class Autoencoder(nn.Module):
  """Frames to codes and back; both stacks see whole values.

  Attributes:
    embed: makes the embedding of frames, [B,S,C] -> [B,S,D].
    position: makes the absolute positions, [B,S] -> [B,S,D], or None.
    encoder: makes the encoder stack.
    decoder: makes the decoder stack.
    to_code: makes the layer in front of quantization, [B,S,D] -> [B,S,G].
    from_code: makes the layer behind it, [B,S,G] -> [B,S,D].
    head: makes the layer to frames, [B,S,D] -> [B,S,C].
    levels: levels of each of the G numbers of a code.
    dropout_rate: dropout of the embeddings.
  """

  embed: Callable[[], nn.Module]
  position: Callable[[], Callable] | None
  encoder: Callable[[], nn.Module]
  decoder: Callable[[], nn.Module]
  to_code: Callable[[], nn.Module]
  from_code: Callable[[], nn.Module]
  head: Callable[[], nn.Module]
  levels: Sequence[int]
  dropout_rate: float = 0.0

  def setup(self):
    self.source_embed = self.embed()
    if self.position is not None:
      self.encoder_position, self.decoder_position = self.position(), self.position()
    self.encoder_stack, self.decoder_stack = self.encoder(), self.decoder()
    self.code_input, self.code_output = self.to_code(), self.from_code()
    self.output = self.head()
    self.dropout = Dropout(self.dropout_rate)

  def __call__(self, batch: SourceBatch) -> jax.Array:
    """Returns the reconstructed frames, float32 [B,S,C]."""
    return self._frames(self._quantized(batch), batch)

  def encode(self, batch: SourceBatch) -> jax.Array:
    """Returns the code of each frame, int32 [B,S]."""
    return codes_of(self._quantized(batch), self.levels)

  def decode(self, codes: jax.Array, batch: SourceBatch) -> jax.Array:
    """Returns the frames of codes [B,S], float32 [B,S,C].

    Args:
      codes: int32 [B,S].
      batch: segments and positions of the codes; its frames are not read.
    """
    return self._frames(values_of(codes, self.levels), batch)

  def _quantized(self, batch: SourceBatch) -> jax.Array:
    x = self.source_embed(batch["inputs"])  # [B,S,C] -> [B,S,D]
    if self.position is not None:
      x = x + self.encoder_position(batch["inputs_positions"]).astype(x.dtype)
    x, _ = self.encoder_stack(self.dropout(x), _context(batch))
    return quantize(self.code_input(x), self.levels)  # [B,S,D] -> [B,S,G]

  def _frames(self, values: jax.Array, batch: SourceBatch) -> jax.Array:
    x = self.code_output(values)  # [B,S,G] -> [B,S,D]
    if self.position is not None:
      x = x + self.decoder_position(batch["inputs_positions"]).astype(x.dtype)
    x, _ = self.decoder_stack(self.dropout(x), _context(batch))
    return self.output(x).astype(jnp.float32)  # [B,S,D] -> [B,S,C]


def _context(batch: SourceBatch) -> Context:
  segments = batch["inputs_segments"]
  return Context(batch["inputs_positions"], Mask(segments, segments))

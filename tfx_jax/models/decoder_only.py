"""The decoder-only Transformer: one causal stack reads a prompt and continues it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.errors import UserError
from tfx_jax.layers.block import Context
from tfx_jax.layers.cache import Cache
from tfx_jax.layers.dropout import Dropout
from tfx_jax.layers.mask import Mask
from tfx_jax.layers.position import patches_before
from tfx_jax.models.model import Batch, Output, Prompt


class DecoderOnly(nn.Module):
  """An embedding, a causal stack and a head; see `BoundModel` for the methods.

  Dropout is active when a 'dropout' rng is given. Batches have no source side.

  A sequence may contain one picture, as a source or as a target. With `first_patch`, positions in
  two dimensions are those of the patch that is predicted next; in front of the picture they are 0.

  Attributes:
    embed: makes the embedding, [B,T] or [B,T,C] -> [B,T,D].
    position: makes the absolute positions, [B,T] -> [B,T,D], or None.
    decoder: makes the stack.
    head: makes the head; a tied head is given the embedding's table.
    window: number of latest tokens that the stack sees while decoding, as many as in training, so
      that a text can be continued without end; None for all.
    dropout_rate: dropout of the embeddings.
    embed_norm: makes the norm of the embeddings, or None.
    grid_position: makes the absolute positions in a picture, [B,T] -> [B,T,D], or None; `position`
      then counts the other tokens alone.
    first_patch: id from which tokens are patches of pictures; None for positions in one dimension.
  """

  embed: Callable[[], nn.Module]
  position: Callable[[], Callable] | None
  decoder: Callable[[], nn.Module]
  head: Callable[[], nn.Module]
  window: int | None = None
  dropout_rate: float = 0.0
  embed_norm: Callable[[], nn.Module] | None = None
  grid_position: Callable[[], Callable] | None = None
  first_patch: int | None = None

  def setup(self):
    self.token_embed = self.embed()
    if self.position is not None:
      self.absolute_position = self.position()
    if self.grid_position is not None:
      self.position_in_picture = self.grid_position()
    if self.embed_norm is not None:
      self.norm = self.embed_norm()
    self.decoder_stack = self.decoder()
    self.output = self.head()
    self.dropout = Dropout(self.dropout_rate)

  def __call__(self, batch: Batch) -> jax.Array:
    """Returns hidden states [B,T,D], each computed from the elements up to its own."""
    segments, positions = batch["targets_segments"], batch["targets_positions"]
    hidden, _ = self._run(batch["decoder_inputs"], segments, positions, keep=False)
    if self.is_initializing():
      self.logits(hidden[:, :1])
    return hidden

  def logits(self, hidden: jax.Array, context: jax.Array | None = None) -> Output:
    """Returns the output of hidden states [B,T,D]; `context` is ignored."""
    del context
    table = self.token_embed.table() if self.output.tied else None
    return self.output(hidden, table)

  def attention(self, batch: Batch, layer: int) -> jax.Array:
    """Raises UserError: there is no source to attend to."""
    raise UserError(
      "model.architecture='decoder_only' has no attention to a source: use 'encoder_decoder'"
    )

  def prefill(
    self, prompt: Prompt, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[Output, Cache]:
    """Encodes prompts once, and allocates a cache for `length` steps of `width` beams."""
    segments, positions = prompt["prompt_segments"], prompt["prompt_positions"]
    hidden, layers = self._run(prompt["prompt"], segments, positions, keep=True)
    cache = Cache.create(layers, None, segments > 0, length, width)
    read = self._patches(prompt["prompt"], positions)
    if read is not None:
      cache = cache.replace(patches=read[:, -1])
    last = self.logits(hidden[:, -1:])
    return jax.tree.map(lambda x: x[:, 0], last), cache  # [B,1,…] -> [B,…]

  def decode(self, elements: jax.Array, parents: jax.Array, cache: Cache) -> tuple[Output, Cache]:
    """Decodes one step: `elements` [B,W] or [B,W,C] continue beams `parents` [B,W]."""
    cache = cache.reorder(parents)
    positions = jnp.broadcast_to(cache.positions[:, None], parents.shape)  # [B] -> [B,W]
    patches = None
    if self.first_patch is not None and cache.patches is not None:
      # Beams that have ended do not count.
      read = cache.patches + (elements >= self.first_patch).any(axis=1)
      cache = cache.replace(patches=read)
      patches = jnp.broadcast_to(read[:, None], parents.shape)  # [B] -> [B,W]
    hidden, layers = self.decoder_stack.decode(
      self._embed(elements, positions, patches),
      Context(_rotary(positions, patches), cache.mask(self.window), slot=cache.slot),
      cache.layers,
      cache.query_index(),
      cache.key_index(),
    )
    return self.logits(hidden), cache.step(layers)

  def _run(
    self, elements: jax.Array, segments: jax.Array, positions: jax.Array, *, keep: bool
  ) -> tuple[jax.Array, list]:
    """Runs the stack on whole sequences, and returns its keys and values as well if `keep`."""
    patches = self._patches(elements, positions)
    context = Context(_rotary(positions, patches), Mask(segments, segments, causal=True))
    return self.decoder_stack(self._embed(elements, positions, patches), context, keep=keep)

  def _patches(self, elements: jax.Array, positions: jax.Array) -> jax.Array | None:
    """Returns how many patches were read in each sequence, [B,T]; None without `first_patch`."""
    if self.first_patch is None:
      return None
    return patches_before(elements >= self.first_patch, positions)

  def _embed(
    self, elements: jax.Array, positions: jax.Array, patches: jax.Array | None
  ) -> jax.Array:
    x = self.token_embed(elements)  # [B,T] or [B,T,C] -> [B,T,D]
    others = positions if patches is None else positions - patches
    if self.position is not None:
      x = x + self.absolute_position(others).astype(x.dtype)
    if self.grid_position is not None and patches is not None:
      x = x + self.position_in_picture(patches).astype(x.dtype)
    if self.embed_norm is not None:
      x = self.norm(x)
    return self.dropout(x)


def _rotary(positions: jax.Array, patches: jax.Array | None) -> jax.Array:
  """Returns the positions that rotary attention turns by."""
  return positions if patches is None else patches

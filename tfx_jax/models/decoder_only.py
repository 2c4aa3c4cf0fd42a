"""The decoder-only Transformer: one stack reads what is given and goes on with it."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers.block import Context
from tfx_jax.layers.cache import Cache
from tfx_jax.layers.dropout import Dropout
from tfx_jax.layers.mask import Mask

Batch = Mapping[str, jax.Array]


class DecoderOnly(nn.Module):
  """An embedding, a causal stack and a head. Dropout is active when a 'dropout' rng is given.

  A batch holds `decoder_inputs`, `targets_segments` and `targets_positions`, [B,T] each.

  Attributes:
    embed: makes the embedding.
    position: makes absolute positions, [B,T] -> [B,T,D], or None.
    decoder: makes the stack.
    head: makes the head; if it is tied, it is given the embedding's table.
    window: how many tokens back the stack may see while it writes; as many as it has learnt to
      read, so that a text can go on for ever. None: all.
    dropout_rate: of the embeddings.
    embed_norm: makes the norm of embeddings, or None.
  """

  embed: Callable[[], nn.Module]
  position: Callable[[], Callable] | None
  decoder: Callable[[], nn.Module]
  head: Callable[[], nn.Module]
  window: int | None = None
  dropout_rate: float = 0.0
  embed_norm: Callable[[], nn.Module] | None = None

  def setup(self):
    self.token_embed = self.embed()
    if self.position is not None:
      self.absolute_position = self.position()
    if self.embed_norm is not None:
      self.norm = self.embed_norm()
    self.decoder_stack = self.decoder()
    self.output = self.head()
    self.dropout = Dropout(self.dropout_rate)

  def __call__(self, batch: Batch) -> jax.Array:
    """Hidden states [B,T,D], each having seen the tokens up to its own."""
    hidden, _ = self._read(batch, keep=False)
    if self.is_initializing():
      self.logits(hidden[:, :1])
    return hidden

  def logits(self, hidden: jax.Array, context: None = None) -> jax.Array:
    """Logits [B,T,V] of hidden states [B,T,D]; there is no source to copy from."""
    del context
    return self.output(hidden, self.token_embed.table() if self.output.tied else None)

  def prefill(
    self, batch: Batch, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[jax.Array, Cache]:
    """Reads prompts once, and makes room to write.

    Args:
      batch: its `decoder_inputs` [B,P] are the prompts, padded on the left, with
        `targets_segments` 1 where they are real and `targets_positions` counted from 0 there.
      length: room for tokens to generate.
      width: W, beams of each row.
      alignment_layer: None, for there is nothing to align with.

    Returns:
      logits [B,V] of the first token to generate, and the cache.
    """
    hidden, layers = self._read(batch, keep=True)
    cache = Cache.create(layers, None, batch["targets_segments"] > 0, length, width)
    return self.logits(hidden[:, -1:])[:, 0], cache

  def decode(self, tokens: jax.Array, parents: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
    """One step: `tokens` [B,W] continue beams `parents` [B,W]; logits [B,W,V] of the next.

    There must be room: at most `length` steps, as given to `prefill` or to the cache's `grow`.
    """
    cache = cache.reorder(parents)
    positions = jnp.broadcast_to(cache.positions[:, None], tokens.shape)
    hidden, layers = self.decoder_stack.decode(
      self._embed(tokens, positions),
      Context(positions, cache.mask(self.window), slot=cache.slot),
      cache.layers,
      cache.query_index(),
      cache.key_index(),
    )
    return self.logits(hidden), cache.step(layers)

  def _read(self, batch: Batch, *, keep: bool) -> tuple:
    segments, positions = batch["targets_segments"], batch["targets_positions"]
    context = Context(positions, Mask(segments, segments, causal=True))
    return self.decoder_stack(self._embed(batch["decoder_inputs"], positions), context, keep=keep)

  def _embed(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
    x = self.token_embed(tokens)
    if self.position is not None:
      x = x + self.absolute_position(positions).astype(x.dtype)
    if self.embed_norm is not None:
      x = self.norm(x)
    return self.dropout(x)

"""The encoder-decoder Transformer: an encoder reads the source, a decoder writes the target."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers.block import Context
from tfx_jax.layers.cache import Cache, CopyMemory
from tfx_jax.layers.copy import Pointed, with_copies
from tfx_jax.layers.dropout import Dropout
from tfx_jax.layers.mask import Mask

Batch = Mapping[str, jax.Array]
Hidden = jax.Array | Pointed


class EncoderDecoder(nn.Module):
  """Embeddings, two stacks and a head. Dropout is active when a 'dropout' rng is given.

  A batch holds `inputs` [B,S] and `decoder_inputs` [B,T], with `inputs_segments`,
  `inputs_positions`, `targets_segments` and `targets_positions` of the same shapes.

  Attributes:
    embed_source: makes the encoder's embedding; None if it shares the decoder's.
    embed_target: makes the decoder's embedding.
    position_source: makes the encoder's absolute positions, [B,S] -> [B,S,D], or None.
    position_target: makes the decoder's, or None.
    encoder: makes the encoder stack.
    decoder: makes the decoder stack.
    head: makes the head; if it is tied, it is given the decoder's table.
    dropout_rate: of the embeddings.
    embed_norm: makes the norm of embeddings, one for each side, or None.
    zero_start: whether targets begin with an embedding of zeros, not with that of BOS.
    copy_attention: makes what points at tokens of the source to copy, or None; both sides then have
      the same tokens.
  """

  embed_source: Callable[[], nn.Module] | None
  embed_target: Callable[[], nn.Module]
  position_source: Callable[[], Callable] | None
  position_target: Callable[[], Callable] | None
  encoder: Callable[[], nn.Module]
  decoder: Callable[[], nn.Module]
  head: Callable[[], nn.Module]
  dropout_rate: float = 0.0
  embed_norm: Callable[[], nn.Module] | None = None
  zero_start: bool = False
  copy_attention: Callable[[], nn.Module] | None = None

  def setup(self):
    self.target_embed = self.embed_target()
    if self.embed_source is not None:
      self.source_embed = self.embed_source()
    if self.position_source is not None:
      self.source_position = self.position_source()
    if self.position_target is not None:
      self.target_position = self.position_target()
    if self.embed_norm is not None:
      self.source_norm, self.target_norm = self.embed_norm(), self.embed_norm()
    self.encoder_stack = self.encoder()
    self.decoder_stack = self.decoder()
    self.output = self.head()
    if self.copy_attention is not None:
      self.pointer = self.copy_attention()
    self.dropout = Dropout(self.dropout_rate)

  def __call__(self, batch: Batch) -> Hidden:
    """Hidden states [B,T,D] of the decoder, each having seen the targets before its own.

    Where there is copying they come with where they point, all of it by place: [B,T,…].
    """
    memory = self.encode(batch)
    hidden, _ = self._decode_prompt(batch, memory, self._copied(batch, memory), keep=False)
    if self.is_initializing():
      self.logits(jax.tree.map(lambda x: x[:, :1], hidden), batch["inputs"])
    return hidden

  def logits(self, hidden: Hidden, context: jax.Array | None = None) -> jax.Array:
    """Logits [B,T,V] of hidden states, of all places of a row or of some.

    Args:
      hidden: as the model gives them.
      context: the tokens of the source, int32 [B,S]; looked at only where there is copying. Logits
        are log-probabilities then.
    """
    table = self.target_embed.table() if self.output.tied else None
    if self.copy_attention is None:
      return self.output(hidden, table)
    return with_copies(self.output(hidden.states, table), hidden, context)

  def encode(self, batch: Batch) -> jax.Array:
    """The encoder's states [B,S,D]."""
    embed = self.target_embed if self.embed_source is None else self.source_embed
    x = embed(batch["inputs"])
    if self.position_source is not None:
      x = x + self.source_position(batch["inputs_positions"]).astype(x.dtype)
    if self.embed_norm is not None:
      x = self.source_norm(x)
    segments = batch["inputs_segments"]
    context = Context(batch["inputs_positions"], Mask(segments, segments))
    return self.encoder_stack(self.dropout(x), context)[0]

  def attention(self, batch: Batch, layer: int) -> jax.Array:
    """A decoder layer's weights on the source, [B,T,S]: the mean of its heads, for each target."""
    memory = self.encode(batch)
    _, layers = self._decode_prompt(batch, memory, None, keep=True, alignment_layer=layer)
    return layers[layer].attended

  def prefill(
    self, batch: Batch, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[jax.Array, Cache]:
    """Reads sources and prompts once, and makes room to write.

    Args:
      batch: its `decoder_inputs` [B,P] are the prompts, BOS first, padded on the left, with
        `targets_segments` 1 where they are real and `targets_positions` counted from 0 there.
      length: room for tokens to generate.
      width: W, beams of each row.
      alignment_layer: the decoder layer whose attention to the source the cache sums, its
        `coverage`.

    Returns:
      logits [B,V] of the first token to generate, and the cache.
    """
    memory = self.encode(batch)
    copied = self._copied(batch, memory)
    hidden, layers = self._decode_prompt(
      batch, memory, copied, keep=True, alignment_layer=alignment_layer
    )
    prompt = batch["targets_segments"] > 0
    memory_segments = (batch["inputs_segments"] > 0).astype(jnp.int32)
    cache = Cache.create(layers, memory_segments, prompt, length, width, copied)
    last = jax.tree.map(lambda x: x[:, -1:], hidden)
    return self.logits(last, batch["inputs"])[:, 0], cache

  def decode(self, tokens: jax.Array, parents: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
    """One step: `tokens` [B,W] continue beams `parents` [B,W]; logits [B,W,V] of the next.

    There must be room: at most `length` steps, as given to `prefill` or to the cache's `grow`.
    """
    cache = cache.reorder(parents)
    positions = jnp.broadcast_to(cache.positions[:, None], tokens.shape)
    context = Context(
      positions,
      cache.mask(),
      Mask(jnp.ones_like(tokens), cache.memory_segments),
      slot=cache.slot,
    )
    hidden, layers = self.decoder_stack.decode(
      self._embed_target(tokens, positions),
      context,
      cache.layers,
      cache.query_index(),
      cache.key_index(),
    )
    hidden = self._point(hidden, cache.copied, context.memory_mask)
    tokens = None if cache.copied is None else cache.copied.tokens
    return self.logits(hidden, tokens), cache.step(layers)

  def _decode_prompt(
    self,
    batch: Batch,
    memory: jax.Array,
    copied: CopyMemory | None,
    *,
    keep: bool,
    alignment_layer: int | None = None,
  ) -> tuple[Hidden, list]:
    segments, positions = batch["targets_segments"], batch["targets_positions"]
    context = Context(
      positions,
      Mask(segments, segments, causal=True),
      Mask(segments, batch["inputs_segments"]),
    )
    x = self._embed_target(batch["decoder_inputs"], positions)
    hidden, layers = self.decoder_stack(
      x, context, memory, keep=keep, alignment_layer=alignment_layer
    )
    return self._point(hidden, copied, context.memory_mask), layers

  def _copied(self, batch: Batch, memory: jax.Array) -> CopyMemory | None:
    if self.copy_attention is None:
      return None
    return self.pointer.project_memory(memory, batch["inputs"])

  def _point(self, hidden: jax.Array, copied: CopyMemory | None, mask: Mask) -> Hidden:
    return hidden if copied is None else self.pointer(hidden, copied, mask)

  def _embed_target(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
    x = self.target_embed(tokens)
    if self.zero_start:
      x = jnp.where(positions[..., None] > 0, x, 0)
    if self.position_target is not None:
      x = x + self.target_position(positions).astype(x.dtype)
    if self.embed_norm is not None:
      x = self.target_norm(x)
    return self.dropout(x)

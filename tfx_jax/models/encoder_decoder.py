"""The encoder-decoder Transformer: an encoder reads the source, a decoder generates the target."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers.block import Context
from tfx_jax.layers.cache import Cache, CopyMemory
from tfx_jax.layers.copy import Pointed, with_copies
from tfx_jax.layers.dropout import Dropout
from tfx_jax.layers.mask import Mask
from tfx_jax.models.model import Batch, Output, Prompt, SourceBatch

Hidden = jax.Array | Pointed


class EncoderDecoder(nn.Module):
  """Embeddings, two stacks and a head; see `BoundModel` for the methods.

  Dropout is active when a 'dropout' rng is given. Each side consists of tokens or of frames, as its
  embedding and the head are made.

  Attributes:
    embed_source: makes the encoder's embedding; None if it shares the decoder's.
    embed_target: makes the decoder's embedding.
    position_source: makes the encoder's absolute positions, [B,S] -> [B,S,D], or None.
    position_target: makes the decoder's, or None.
    encoder: makes the encoder stack.
    decoder: makes the decoder stack.
    head: makes the head; a tied head is given the decoder's table.
    dropout_rate: dropout of the embeddings.
    embed_norm: makes the norm of the embeddings, one for each side, or None.
    zero_start: whether targets begin with an embedding of zeros, not with that of BOS.
    copy_attention: makes the attention that a copy head points with, or None; both sides then have
      the same tokens.
    causal: whether the decoder sees only what is before a position.
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
  causal: bool = True

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

  def __call__(self, batch: Batch, memory: jax.Array | None = None) -> Hidden:
    """Returns the decoder's hidden states [B,T,D]; with a copy head, also where each points.

    Args:
      batch: the batch.
      memory: the encoder's states [B,S,D] if they are known already.
    """
    memory = self.encode(batch) if memory is None else memory
    copied = self._copied(batch, memory)
    context = self._context(batch["targets_segments"], batch["targets_positions"], batch)
    x = self._embed_target(batch["decoder_inputs"], context.positions)
    hidden, _ = self.decoder_stack(x, context, memory)
    hidden = self._point(hidden, copied, context)
    if self.is_initializing():
      self.logits(jax.tree.map(lambda x: x[:, :1], hidden), batch["inputs"])
    return hidden

  def logits(self, hidden: Hidden, context: jax.Array | None = None) -> Output:
    """Returns the output of hidden states [B,T,D]; with a copy head they are log-probabilities.

    Args:
      hidden: as returned by the model.
      context: the source tokens, int32 [B,S]; only a copy head reads them.
    """
    table = self.target_embed.table() if self.output.tied else None
    if not isinstance(hidden, Pointed):
      return self.output(hidden, table)
    assert context is not None, "a copy head needs the source tokens"
    return with_copies(self.output(hidden.states, table), hidden, context)

  def encode(self, batch: SourceBatch) -> jax.Array:
    """Returns the encoder's states [B,S,D]."""
    embed = self.target_embed if self.embed_source is None else self.source_embed
    x = embed(batch["inputs"])  # [B,S] or [B,S,C] -> [B,S,D]
    if self.position_source is not None:
      x = x + self.source_position(batch["inputs_positions"]).astype(x.dtype)
    if self.embed_norm is not None:
      x = self.source_norm(x)
    segments = batch["inputs_segments"]
    context = Context(batch["inputs_positions"], Mask(segments, segments))
    return self.encoder_stack(self.dropout(x), context)[0]

  def attention(self, batch: Batch, layer: int) -> jax.Array:
    """Returns a decoder layer's attention to the source [B,T,S], averaged over its heads."""
    memory = self.encode(batch)
    context = self._context(batch["targets_segments"], batch["targets_positions"], batch)
    x = self._embed_target(batch["decoder_inputs"], context.positions)
    _, layers = self.decoder_stack(x, context, memory, keep=True, alignment_layer=layer)
    return layers[layer].attended

  def prefill(
    self, prompt: Prompt, length: int, width: int, alignment_layer: int | None = None
  ) -> tuple[Output, Cache]:
    """Encodes sources and prompts once, and allocates a cache for `length` steps.

    Args:
      prompt: the inputs.
      length: number of steps that the cache has capacity for.
      width: W, beams of each row.
      alignment_layer: decoder layer whose attention to the source is summed in the cache, or None.

    Returns:
      the output for the first element to generate, and the cache.
    """
    memory = self.encode(prompt)
    copied = self._copied(prompt, memory)
    context = self._context(prompt["prompt_segments"], prompt["prompt_positions"], prompt)
    x = self._embed_target(prompt["prompt"], context.positions)
    hidden, layers = self.decoder_stack(
      x, context, memory, keep=True, alignment_layer=alignment_layer
    )
    hidden = self._point(hidden, copied, context)
    is_prompt = prompt["prompt_segments"] > 0
    memory_segments = (prompt["inputs_segments"] > 0).astype(jnp.int32)
    cache = Cache.create(layers, memory_segments, is_prompt, length, width, copied)
    last = self.logits(jax.tree.map(lambda x: x[:, -1:], hidden), prompt["inputs"])
    return jax.tree.map(lambda x: x[:, 0], last), cache  # [B,1,…] -> [B,…]

  def decode(self, elements: jax.Array, parents: jax.Array, cache: Cache) -> tuple[Output, Cache]:
    """Decodes one step: `elements` [B,W] or [B,W,C] continue beams `parents` [B,W]."""
    hidden, context, cache = self._decode_stack(elements, parents, cache)
    hidden = self._point(hidden, cache.copied, context)
    source = None if cache.copied is None else cache.copied.tokens
    return self.logits(hidden, source), cache

  def _decode_stack(
    self, elements: jax.Array, parents: jax.Array, cache: Cache
  ) -> tuple[jax.Array, Context, Cache]:
    """Runs the decoder stack for one step.

    Args:
      elements: what each beam reads, as `embed_target` takes it, [B,W,…].
      parents: int32 [B,W], the beam of the step before that each of them continues.
      cache: the cache.

    Returns:
      the hidden states [B,W,D], their context, and the cache that holds the step.
    """
    cache = cache.reorder(parents)
    assert cache.memory_segments is not None
    positions = jnp.broadcast_to(cache.positions[:, None], parents.shape)  # [B] -> [B,W]
    context = Context(
      positions,
      cache.mask(),
      Mask(jnp.ones_like(parents), cache.memory_segments),
      slot=cache.slot,
    )
    hidden, layers = self.decoder_stack.decode(
      self._embed_target(elements, positions),
      context,
      cache.layers,
      cache.query_index(),
      cache.key_index(),
    )
    return hidden, context, cache.step(layers)

  def _copied(self, batch: SourceBatch, memory: jax.Array) -> CopyMemory | None:
    if self.copy_attention is None:
      return None
    return self.pointer.project_memory(memory, batch["inputs"])

  def _point(self, hidden: jax.Array, copied: CopyMemory | None, context: Context) -> Hidden:
    if copied is None:
      return hidden
    assert isinstance(context.memory_mask, Mask)
    return self.pointer(hidden, copied, context.memory_mask)

  def _embed_target(self, elements: jax.Array, positions: jax.Array) -> jax.Array:
    x = self.target_embed(elements)  # [B,T] or [B,T,C] -> [B,T,D]
    if self.zero_start:
      x = jnp.where(positions[..., None] > 0, x, 0)
    if self.position_target is not None:
      x = x + self.target_position(positions).astype(x.dtype)
    if self.embed_norm is not None:
      x = self.target_norm(x)
    return self.dropout(x)

  def _context(self, segments: jax.Array, positions: jax.Array, source: SourceBatch) -> Context:
    """Returns the context of a decoder that reads whole targets or prompts [B,T]."""
    return Context(
      positions,
      Mask(segments, segments, causal=self.causal),
      Mask(segments, source["inputs_segments"]),
    )

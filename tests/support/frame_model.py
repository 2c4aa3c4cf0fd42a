"""A small model that reads frames and generates frames, and packed batches for it."""

import functools

import numpy as np
from support.small_model import FEATURES, small_model

from tfx_jax.layers.embed import FrameEmbed
from tfx_jax.layers.head import FrameHead

CHANNELS = 3


def frame_model(dropout=0.0):
  """An encoder-decoder, both of whose sides are frames."""
  embed = functools.partial(FrameEmbed, CHANNELS, FEATURES)
  return small_model(dropout).clone(
    embed_source=embed, embed_target=embed, head=functools.partial(FrameHead, FEATURES, CHANNELS)
  )


def frame_batch(rows, source_length=6, target_length=8, seed=0):
  """Rows of two examples of unequal length; padding holds numbers at random."""
  rng = np.random.default_rng(seed)
  batch = {}
  for name, length in (("inputs", source_length), ("targets", target_length)):
    counts = rng.integers(1, length // 2 + 1, (rows, 2))
    index = np.broadcast_to(np.arange(length), (rows, length))
    first, both = counts[:, :1], counts.sum(axis=1, keepdims=True)
    segments = np.where(index < first, 1, np.where(index < both, 2, 0)).astype(np.int32)
    batch |= {
      name: rng.normal(size=(rows, length, CHANNELS)).astype(np.float32),
      f"{name}_segments": segments,
      f"{name}_positions": np.where(segments == 2, index - first, index).astype(np.int32),
    }
  # Shifted within each example; the first input is a frame of zeros.
  shifted = np.roll(batch["targets"], 1, axis=1)
  batch["decoder_inputs"] = np.where(batch["targets_positions"][..., None] > 0, shifted, 0)
  batch["weights"] = (batch["targets_segments"] > 0).astype(np.float32)
  return batch

"""Codecs of small values, to show that nothing but a codec knows what a value is.

`PictureCodec` has tokens, `VectorCodec` has frames. `make_corpus` and `make_batch` take them from
values to a batch of a model.
"""

import json
import os

import numpy as np

from tfx_jax.codecs.codec import Frames, Tokens
from tfx_jax.codecs.special_tokens import SPECIAL_PIECES
from tfx_jax.data.corpus import prepare
from tfx_jax.data.example import Example
from tfx_jax.data.layout import EncoderDecoderLayout

SIDE, LEVELS = 4, 4


class PictureCodec:
  """Square pictures, int [side,side] of grey levels, as a token a pixel in raster order."""

  def __init__(self, side=SIDE, levels=LEVELS):
    self.side, self.levels = side, levels
    self.element = Tokens(len(SPECIAL_PIECES) + levels)
    self.fingerprint = f"picture-{side}-{levels}"

  def encode(self, values):
    return [(len(SPECIAL_PIECES) + np.asarray(value).ravel()).tolist() for value in values]

  def decode(self, sequences):
    """Pictures; pixels that are missing are black, further ones are left out."""
    return [self._picture(list(sequence)) for sequence in sequences]

  def _picture(self, ids):
    eos = self.element.special_tokens.eos
    ids = ids[: ids.index(eos)] if eos in ids else ids
    levels = [i - len(SPECIAL_PIECES) for i in ids if i >= len(SPECIAL_PIECES)]
    levels = (levels + [0] * self.side**2)[: self.side**2]
    return np.array(levels).reshape(self.side, self.side)

  def measure(self, value):
    return {"pixels": np.size(value)}

  def save(self, folder):
    save(folder, side=self.side, levels=self.levels)


class VectorCodec:
  """Sequences of vectors, float32 [n,C], as they are."""

  def __init__(self, channels=3):
    self.element = Frames(channels)
    self.fingerprint = f"vectors-{channels}"

  def encode(self, values):
    return [np.asarray(value, np.float32) for value in values]

  def decode(self, sequences):
    return [np.asarray(sequence, np.float32) for sequence in sequences]

  def measure(self, value):
    return {"frames": len(value)}

  def save(self, folder):
    save(folder, channels=self.element.channels)


def save(folder, **settings):
  os.makedirs(folder, exist_ok=True)
  with open(os.path.join(folder, "codec.json"), "w") as file:
    json.dump(settings, file)


def pictures(count, seed=0):
  """Random pictures."""
  return list(np.random.default_rng(seed).integers(0, LEVELS, (count, SIDE, SIDE)))


def vectors(count, seed=0, channels=3, longest=6):
  """Random sequences of vectors, of random lengths."""
  rng = np.random.default_rng(seed)
  shapes = [(length, channels) for length in rng.integers(1, longest + 1, count)]
  return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


# For each kind: the codecs of both sides, and sources and targets to make examples of.
KINDS = {
  "pictures": ((PictureCodec(), PictureCodec()), (pictures, pictures)),
  "vectors": ((VectorCodec(), VectorCodec(2)), (vectors, lambda n: vectors(n, 1, 2))),
  "vectors to pictures": ((VectorCodec(), PictureCodec()), (vectors, pictures)),
  "pictures to vectors": ((PictureCodec(), VectorCodec()), (pictures, vectors)),
}


def make_examples(kind, count=8):
  """Examples of a kind, and the codecs of their sources and targets."""
  codecs, sides = KINDS[kind]
  return [Example(*pair) for pair in zip(*(side(count) for side in sides), strict=True)], codecs


def make_corpus(kind, cache_dir, count=8, longest=20):
  """The corpus of examples of a kind."""
  examples, codecs = make_examples(kind, count)
  return prepare(examples, f"{kind}-{count}", *codecs, str(cache_dir), longest, longest)


def make_layout(kind, source_length=40, target_length=40):
  """A layout whose rows hold two examples or more."""
  elements = tuple(codec.element for codec in KINDS[kind][0])
  return EncoderDecoderLayout(source_length, target_length, elements=elements)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.builders.image_codes import image_frames
from tfx_jax.builders.model import example_of
from tfx_jax.layers.quantize import values_of
from tfx_jax.training.reconstruction_objective import ReconstructionObjective
from tfx_jax.training.state import init_params

CHANGES = {
  "task.name": "reconstruct",
  "task.metrics": ("psnr",),
  "image.size": (4, 6),
  "image.patch": (2, 2),
  "image.channels": 1,
  "image.codes": 0,
  "model.architecture": "autoencoder",
  "model.levels": (4, 3),
  "model.share_embeddings": False,
  "model.dropout": 0.0,
}
LENGTH = 6


@pytest.fixture(scope="module")
def bound():
  config = make_config(CHANGES)
  codecs = (image_frames(config),) * 2
  model = builders.make_model(config, codecs)
  boxed = init_params(model, 0, example_of(codecs))
  params = jax.tree.map(lambda x: 3 * x, jax.tree.map(jnp.asarray, _unboxed(boxed)))
  return model.bind({"params": params})


def _unboxed(tree):
  return jax.tree.map(lambda box: box.value, tree, is_leaf=lambda x: hasattr(x, "value"))


def batch(frames, segments=None):
  rows, length = frames.shape[:2]
  positions = np.arange(length)[None].repeat(rows, axis=0)
  if segments is None:
    segments = np.ones((rows, length), int)
  else:
    positions = np.concatenate([np.arange(n) for n in np.bincount(segments[0])[1:]])[None]
  arrays = {"inputs": frames, "inputs_segments": segments, "inputs_positions": positions}
  return {name: jnp.asarray(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def frames():
  return np.random.default_rng(0).uniform(-1, 1, (3, LENGTH, 4)).astype(np.float32)


def test_a_reconstruction_is_made_of_codes_alone(bound, frames):
  given = batch(frames)
  codes = bound.encode(given)
  assert codes.shape == (3, LENGTH) and codes.dtype == jnp.int32
  assert 0 <= int(codes.min()) and int(codes.max()) < 12 and len(set(codes.ravel().tolist())) > 3
  decoded = bound.decode(codes, {**given, "inputs": jnp.zeros_like(given["inputs"])})
  assert np.allclose(bound(given), decoded, atol=1e-5)
  changed = codes.at[0, 0].set((codes[0, 0] + 1) % 12)
  assert not np.allclose(values_of(codes, (4, 3)), values_of(changed, (4, 3)))
  other = bound.decode(changed, given)
  # A code changes all of its picture, and nothing of others.
  assert (np.abs(other[0] - decoded[0]).max(axis=-1) > 1e-6).all()
  assert np.allclose(other[1:], decoded[1:], atol=1e-6)


def test_packed_pictures_are_those_of_rows_of_their_own(bound, frames):
  packed = frames[:2].reshape(1, 2 * LENGTH, 4)
  segments = np.repeat([1, 2], LENGTH)[None]
  together, alone = bound(batch(packed, segments)), bound(batch(frames[:2]))
  assert np.allclose(together.reshape(2, LENGTH, 4), alone, atol=1e-5)


def test_padding_has_no_weight(bound, frames):
  class Echo:
    def bind(self, variables, rngs=None):
      return lambda batch: batch["inputs"] + 0.5

  given = batch(frames)
  segments = given["inputs_segments"].at[0, 2:].set(0)
  sums = ReconstructionObjective(Echo())({}, {**given, "inputs_segments": segments})
  assert float(sums.weight) == 2 + 2 * LENGTH
  assert float(sums.objective) == pytest.approx(0.25 * (2 + 2 * LENGTH))
  assert [*sums.metrics] == ["loss"]

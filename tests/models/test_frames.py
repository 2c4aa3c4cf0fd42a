"""Models of frames: what they may see, and decoding with a cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from support.frame_model import CHANNELS, frame_batch, frame_model
from support.small_codecs import VectorCodec
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.errors import UserError
from tfx_jax.layers.head import FrameOutput
from tfx_jax.models.parameters import example_batch
from tfx_jax.training.objective import FrameObjective, TokenObjective
from tfx_jax.training.state import init_params

ROWS, WIDTH, STEPS = 3, 2, 4


@pytest.fixture(scope="module")
def params():
  """Random parameters, so that biases are not zero."""
  shapes = nn.unbox(jax.eval_shape(lambda: init_params(frame_model(), 0, frame_batch(1))))
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: 0.3 * rng.normal(size=x.shape).astype(np.float32), shapes)


@jax.jit
def outputs(params, batch):
  bound = frame_model().bind({"params": params})
  return bound.logits(bound(batch))


def test_a_frame_depends_on_inputs_up_to_its_own_in_its_example_and_on_its_source(params):
  batch, row = frame_batch(1), 0
  segments = batch["targets_segments"][row]

  def output(decoder_inputs, inputs, step):
    changed = batch | {"decoder_inputs": decoder_inputs, "inputs": inputs}
    frames, stop = outputs(params, changed)
    return frames[row, step].sum() + stop[row, step]

  gradients = jax.jit(jax.grad(output, argnums=(0, 1)))
  for step in np.flatnonzero(segments):
    seen, source = gradients(batch["decoder_inputs"], batch["inputs"], step)
    index = np.arange(len(segments))
    expected = (index <= step) & (segments == segments[step])
    np.testing.assert_array_equal(np.abs(seen[row]).max(axis=-1) > 0, expected)
    of_example = batch["inputs_segments"][row] == segments[step]
    np.testing.assert_array_equal(np.abs(source[row]).max(axis=-1) > 0, of_example)


def test_cached_decoding_equals_the_full_forward_pass(params):
  """Of each beam, over steps whose parents are random."""
  rng = np.random.default_rng(1)
  inputs = rng.normal(size=(ROWS, 5, CHANNELS)).astype(np.float32)
  segments = (np.arange(5) < np.array([[5], [2], [4]])).astype(np.int32)
  positions = np.broadcast_to(np.arange(5, dtype=np.int32), segments.shape)
  source = {"inputs": inputs, "inputs_segments": segments, "inputs_positions": positions}
  prompt = source | {
    "prompt": np.zeros((ROWS, 1, CHANNELS), np.float32),
    "prompt_segments": np.ones((ROWS, 1), np.int32),
    "prompt_positions": np.zeros((ROWS, 1), np.int32),
  }
  prefill = jax.jit(lambda p: frame_model().bind({"params": p}).prefill(prompt, STEPS, WIDTH))
  decode = jax.jit(lambda p, *args: frame_model().bind({"params": p}).decode(*args))

  def full(sequences):
    """The outputs after sequences [B,W,T,C], each with the source of its row."""
    length = sequences.shape[2]
    flat = sequences.reshape(ROWS * WIDTH, length, CHANNELS)
    batch = {name: np.repeat(x, WIDTH, axis=0) for name, x in source.items()}
    # One length, so that the program is compiled once.
    batch["decoder_inputs"] = np.pad(flat, ((0, 0), (0, STEPS + 1 - length), (0, 0)))
    index = np.broadcast_to(np.arange(STEPS + 1, dtype=np.int32), (ROWS * WIDTH, STEPS + 1))
    batch |= {"targets_positions": index, "targets_segments": (index < length).astype(np.int32)}
    frames, stop = outputs(params, batch)
    shape = (ROWS, WIDTH)
    return frames[:, length - 1].reshape(*shape, CHANNELS), stop[:, length - 1].reshape(shape)

  first, cache = prefill(params)
  sequences = np.zeros((ROWS, WIDTH, 1, CHANNELS), np.float32)
  output = FrameOutput(*(jnp.repeat(x[:, None], WIDTH, axis=1) for x in first))
  for step in range(STEPS + 1):
    for found, expected in zip(output, full(sequences), strict=True):
      np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    if step < STEPS:
      parents = rng.integers(0, WIDTH, (ROWS, WIDTH)).astype(np.int32)
      frames = rng.normal(size=(ROWS, WIDTH, CHANNELS)).astype(np.float32)
      output, cache = decode(params, frames, parents, cache)
      continued = np.take_along_axis(sequences, parents[..., None, None], axis=1)
      sequences = np.concatenate([continued, frames[:, :, None]], axis=2)


TEXT, VECTORS = CharacterTokenizer("abc"), VectorCodec(CHANNELS)


@pytest.mark.parametrize(
  ("codecs", "objective"),
  [
    ((TEXT, VECTORS), FrameObjective),
    ((VECTORS, TEXT), TokenObjective),
    ((VECTORS, VectorCodec(2)), FrameObjective),
  ],
  ids=["to frames", "from frames", "frames to frames"],
)
def test_embeddings_head_and_objective_follow_the_elements_of_the_codecs(codecs, objective):
  config = make_config()
  model = builders.make_model(config, codecs)
  source, target = (codec.element for codec in codecs)
  batch = example_batch(source.shape, target.shape)

  def run():
    bound = model.bind(nn.unbox(model.init(jax.random.key(0), batch)))
    return bound.logits(bound(batch), batch["inputs"])

  output = jax.eval_shape(run)
  if target.shape:
    assert output.frames.shape == (1, 8, *target.shape) and output.stop.shape == (1, 8)
  else:
    assert output.shape[:2] == (1, 8) and output.shape[2] >= target.vocab_size
  made = builders.make_objective(config, model, builders.make_parallel(config), target)
  assert type(made) is objective


def test_frames_cannot_be_copied():
  config = make_config({"model.copy_head": True})
  with pytest.raises(UserError, match="copy_head=True needs sources and targets of tokens"):
    builders.make_model(config, (VECTORS, TEXT))

"""Frame search over `step(frames, parents, cache) -> ((frames, stop logits), cache)`.

A frame is a vector of C numbers, such as one column of a mel spectrogram or one patch of an image.
Each row has one output. The frame that the model predicts is fed back to it as it is: nothing is
drawn at random, nothing is ranked.

With every frame the model predicts a stop logit. Its sigmoid is the probability that this frame is
the last. A row ends with the first frame, from frame number `min_length` on, whose probability is
above `stop_threshold`, as in Tacotron 2 (Shen et al., 2018, arXiv:1712.05884, section 2.2) and
Transformer TTS (Li et al., 2019, arXiv:1809.08895). It ends with frame number `max_length` at the
latest. `hit_max_length` marks the rows that ended there without a stop. For speech this is usually
a fault, such as a model that repeats itself, so users count these rows.
"""

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.loop import Cache, Step, run_steps


@struct.dataclass
class FrameSettings:
  """Settings of a frame search. They are traced: other numbers compile no other program.

  Attributes:
    min_length: int32 [B], least frames of an output, the last one included.
    max_length: int32 [B], most frames of an output; it overrules `min_length`.
    stop_threshold: scalar, probability above which a frame is the last; 1 or more: only
      `max_length` ends a row.
  """

  min_length: jax.Array
  max_length: jax.Array
  stop_threshold: jax.Array


@struct.dataclass
class FrameState:
  """Progress of a frame search after `length` frames.

  Attributes:
    length: int32 scalar.
    frames: [B,T,C]; zeros after the last frame of a row.
    lengths: int32 [B], frames of each row so far.
    finished: bool [B].
    hit_max_length: bool [B], true for rows that ended at `max_length` without a stop.
  """

  length: jax.Array
  frames: jax.Array
  lengths: jax.Array
  finished: jax.Array
  hit_max_length: jax.Array

  @property
  def capacity(self) -> int:
    """Most frames of an output, T."""
    return self.frames.shape[1]

  @property
  def last_elements(self) -> jax.Array:
    """Newest frame of each row, [B,1,C]; zeros where the row is finished."""
    # [B,T,C] -> [B,1,C]: one hypothesis of each row, W = 1.
    return jax.lax.dynamic_slice_in_dim(self.frames, self.length - 1, 1, axis=1)

  @property
  def parents(self) -> jax.Array:
    """Hypothesis of the previous step that each one continues, int32 [B,1]: the only one, 0."""
    return jnp.zeros((self.finished.shape[0], 1), jnp.int32)


def begin(
  frame: jax.Array,
  stop_logit: jax.Array,
  settings: FrameSettings,
  active: jax.Array,
  *,
  capacity: int,
) -> FrameState:
  """Starts a search with the first frame of each row.

  Args:
    frame: [B,C], first predicted frame.
    stop_logit: [B], of this frame.
    settings: see `FrameSettings`.
    active: bool [B]; false for rows that only fill the batch, which are finished at once.
    capacity: T, at least the greatest `max_length`.
  """
  rows, channels = frame.shape
  state = FrameState(
    length=jnp.zeros((), jnp.int32),
    frames=jnp.zeros((rows, capacity, channels), frame.dtype),  # [B,T,C]
    lengths=jnp.zeros(rows, jnp.int32),
    finished=~active,
    hit_max_length=jnp.zeros(rows, bool),
  )
  return expand(state, frame, stop_logit, settings)


def advance(
  step: Step,
  state: FrameState,
  cache: Cache,
  settings: FrameSettings,
  steps: jax.Array | int,
) -> tuple[FrameState, Cache]:
  """Adds at most `steps` frames; stops before if every row is finished. See `loop.run_steps`.

  Args:
    step: from frames [B,1,C], parents [B,1] and the cache to the next frames [B,1,C] and their stop
      logits [B,1], and the cache.
    state: progress so far.
    cache: the model's.
    settings: see `FrameSettings`.
    steps: int32 scalar.
  """

  def add_frame(state: FrameState, output: tuple[jax.Array, jax.Array], _: Cache) -> FrameState:
    frame, stop_logit = output
    return expand(state, frame[:, 0], stop_logit[:, 0], settings)  # [B,1,C] -> [B,C], [B,1] -> [B]

  return run_steps(add_frame, step, state, cache, steps)


def expand(
  state: FrameState, frame: jax.Array, stop_logit: jax.Array, settings: FrameSettings
) -> FrameState:
  """Adds a frame [B,C] with stop logit [B] to every row that is not finished."""
  length = state.length + 1
  # In bfloat16 a probability near the threshold could be rounded to the threshold itself. [B]
  stop_probability = jax.nn.sigmoid(stop_logit.astype(jnp.float32))
  stops = (stop_probability > settings.stop_threshold) & (length >= settings.min_length)
  at_limit = length >= settings.max_length
  # The frame that stops a row belongs to its output; only the frames after it are zero. [B,C]
  frame = jnp.where(state.finished[:, None], 0, frame).astype(state.frames.dtype)
  return FrameState(
    length=length,
    # [B,C] -> [B,1,C], written into [B,T,C] at place `length` - 1.
    frames=jax.lax.dynamic_update_slice_in_dim(state.frames, frame[:, None], state.length, axis=1),
    lengths=jnp.where(state.finished, state.lengths, length),
    finished=state.finished | stops | at_limit,
    # A row whose last allowed frame also stops has not been cut.
    hit_max_length=state.hit_max_length | (~state.finished & at_limit & ~stops),
  )

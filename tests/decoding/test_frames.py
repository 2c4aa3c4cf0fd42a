"""Frame search against the same search in plain Python, one row at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.decoding import frames

ROWS, CHANNELS, CAPACITY, STATES = 6, 3, 24, 997
RNG = np.random.default_rng(4)
# Whole numbers, so that sums of frames are exact and so is every comparison.
FRAMES = RNG.integers(-9, 10, (STATES, CHANNELS)).astype(np.float32)
STOP_LOGITS = RNG.normal(-1.5, 2.5, STATES).astype(np.float32)
WEIGHTS = np.array([3, 17, 101])


class FakeFrames:
  """A model whose next frame and stop logit depend on all frames so far, through a hash of them."""

  @staticmethod
  def hashed(history, frame):
    return (history * 31 + (frame @ WEIGHTS).astype(int) + 7) % STATES

  @staticmethod
  def begin(rows):
    return jnp.arange(rows) * 13 % STATES

  def prefill(self, rows):
    history = self.begin(rows)
    return jnp.asarray(FRAMES)[history], jnp.asarray(STOP_LOGITS)[history]

  def cache(self, rows):
    return self.begin(rows)[:, None]

  def step(self, last, parents, history):
    history = jnp.take_along_axis(history, parents, axis=1)
    history = self.hashed(history, last)
    return (jnp.asarray(FRAMES)[history], jnp.asarray(STOP_LOGITS)[history]), history


MODEL = FakeFrames()
ADVANCE = jax.jit(functools.partial(frames.advance, MODEL.step))
LIMITS = {
  "free": ([1] * ROWS, [CAPACITY] * ROWS),
  "bounded": ([1, 4, 9, 12, 1, 24], [CAPACITY, 7, 9, 20, 1, 24]),
}


def make_settings(least, most, threshold=0.5):
  return frames.FrameSettings(jnp.array(least), jnp.array(most), jnp.float32(threshold))


def begin(settings, active=(True,) * ROWS):
  return frames.begin(*MODEL.prefill(ROWS), settings, jnp.array(active), capacity=CAPACITY)


def search(settings, active=(True,) * ROWS):
  return ADVANCE(begin(settings, active), MODEL.cache(ROWS), settings, CAPACITY)[0]


def plain(row, least, most, threshold=0.5):
  """Frames of a row, and whether it ended without a stop."""
  history, out = row * 13 % STATES, []
  while True:
    out.append(FRAMES[history].tolist())
    if len(out) >= least and 1 / (1 + np.exp(-STOP_LOGITS[history])) > threshold:
      return out, False
    if len(out) == most:
      return out, True
    history = int(MODEL.hashed(history, FRAMES[history]))


def read(state):
  """Frames and `hit_max_length` of each row; checks that all after its end is zero."""
  outputs = []
  for row, length in enumerate(state.lengths.tolist()):
    assert not state.frames[row, length:].any()
    outputs.append((state.frames[row, :length].tolist(), bool(state.hit_max_length[row])))
  return outputs


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("limits", LIMITS)
def test_equals_plain_python(limits, threshold):
  """Each row has its own length limits; with a threshold of 1 no row stops by itself."""
  least, most = LIMITS[limits]
  state = search(make_settings(least, most, threshold))
  expected = [plain(row, least[row], most[row], threshold) for row in range(ROWS)]
  assert read(state) == expected
  assert state.finished.all()
  assert state.hit_max_length.all() == (threshold == 1.0)


def test_rows_end_independently_of_each_other():
  settings = make_settings(*LIMITS["free"])
  together = search(settings)
  lengths = together.lengths.tolist()
  assert len(set(lengths)) > 2 and int(together.length) == max(lengths) < CAPACITY
  alone = search(settings, [row == 2 for row in range(ROWS)])
  assert int(alone.length) == lengths[2]
  assert read(alone) == [read(together)[2] if row == 2 else ([], False) for row in range(ROWS)]


@pytest.mark.parametrize("steps", [1, 5])
def test_search_in_chunks_equals_search_at_once(steps):
  settings = make_settings(*LIMITS["bounded"])
  state, cache, lengths = begin(settings), MODEL.cache(ROWS), []
  while not state.finished.all():
    state, cache = ADVANCE(state, cache, settings, steps)
    lengths.append(int(state.length))
  assert lengths[0] == 1 + steps
  assert read(state) == read(search(settings))


def test_stop_threshold_and_length_limits():
  """The stop must be above the threshold and not before `min_length`; `max_length` overrules it."""
  #        min, max, stop logit -> finished, hit_max_length
  cases = [
    (1, 9, 0.1, True, False),
    (1, 9, 0.0, False, False),  # sigmoid(0) is the threshold itself
    (2, 9, 5.0, False, False),
    (1, 1, 5.0, True, False),  # stops with the last frame that it may have
    (1, 1, -5.0, True, True),
    (2, 1, 5.0, True, True),
  ]
  least, most, logits, finished, hit = zip(*cases, strict=True)
  state = frames.begin(
    jnp.ones((ROWS, CHANNELS)),
    jnp.array(logits),
    make_settings(least, most),
    jnp.ones(ROWS, bool),
    capacity=CAPACITY,
  )
  assert state.finished.tolist() == list(finished)
  assert state.hit_max_length.tolist() == list(hit)
  assert state.lengths.tolist() == [1] * ROWS


def test_a_bfloat16_model_is_fed_its_own_frames_and_stops_in_float32():
  """In bfloat16 the probabilities of both stop logits would round to the threshold."""
  settings = make_settings([1] * ROWS, [9] * ROWS)
  frame = MODEL.prefill(ROWS)[0].astype(jnp.bfloat16)
  stop = jnp.array([2**-8, -(2**-8)] * 3, jnp.bfloat16)
  state = frames.begin(frame, stop, settings, jnp.ones(ROWS, bool), capacity=9)
  assert state.finished.tolist() == [True, False] * 3
  assert state.last_elements.dtype == jnp.bfloat16
  np.testing.assert_array_equal(state.last_elements[:, 0], frame)


def test_other_settings_compile_nothing():
  search(make_settings(*LIMITS["free"]))
  before = ADVANCE._cache_size()
  search(make_settings(*LIMITS["bounded"], threshold=0.3))
  assert ADVANCE._cache_size() == before

import numpy as np

from tfx_jax.codecs.codec import Frames, Tokens
from tfx_jax.codecs.special_tokens import BOS
from tfx_jax.data.packing import lay_out, pack


def test_pack_lays_out_segments_positions_and_shifted_targets():
  sources = [[[11, 12, 1], [21, 1]], [[31, 1]], []]
  targets = [[[41, 1], [51, 52, 1]], [[61, 62, 63, 64, 65, 1]], []]
  batch = pack(*([[np.array(s) for s in row] for row in rows] for rows in (sources, targets)), 7, 6)
  expected = {
    "inputs": [[11, 12, 1, 21, 1, 0, 0], [31, 1, 0, 0, 0, 0, 0], [0] * 7],
    "inputs_segments": [[1, 1, 1, 2, 2, 0, 0], [1, 1, 0, 0, 0, 0, 0], [0] * 7],
    "inputs_positions": [[0, 1, 2, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0, 0], [0] * 7],
    "decoder_inputs": [[BOS, 41, BOS, 51, 52, 0], [BOS, 61, 62, 63, 64, 65], [0] * 6],
    "targets": [[41, 1, 51, 52, 1, 0], [61, 62, 63, 64, 65, 1], [0] * 6],
    "targets_segments": [[1, 1, 2, 2, 2, 0], [1] * 6, [0] * 6],
    "targets_positions": [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5], [0] * 6],
    "weights": [[1, 1, 1, 1, 1, 0], [1] * 6, [0] * 6],
  }
  assert batch.keys() == expected.keys()
  for name, rows in expected.items():
    assert batch[name].tolist() == rows, name
    assert batch[name].dtype == (np.float32 if name == "weights" else np.int32)


def test_a_target_token_zero_has_weight():
  batch = pack([[np.array([5, 1])]], [[np.array([0, 7, 0, 1])]], 4, 6)
  assert batch["weights"].tolist() == [[1, 1, 1, 1, 0, 0]]
  assert batch["decoder_inputs"].tolist() == [[BOS, 0, 7, 0, 0, 0]]


def test_frames_are_laid_out_as_vectors_and_shifted_from_a_frame_of_zeros():
  frames = np.arange(1, 11, dtype=np.float32).reshape(5, 2)
  elements = Frames(2), Tokens(90)
  batch = pack([[frames[:2], frames[2:]], []], [[[7, 1], [8, 1]], []], 6, 5, elements)
  assert batch["inputs"].dtype == np.float32
  assert batch["inputs"].tolist() == [[*frames.tolist(), [0, 0]], [[0, 0]] * 6]
  assert batch["inputs_segments"].tolist() == [[1, 1, 2, 2, 2, 0], [0] * 6]
  assert batch["targets"].tolist() == [[7, 1, 8, 1, 0], [0] * 5]
  batch = pack([[[7, 1], [8, 1]]], [[frames[:2], frames[2:]]], 6, 6, elements[::-1])
  assert batch["decoder_inputs"].dtype == batch["targets"].dtype == np.float32
  assert batch["targets"].tolist() == [[*frames.tolist(), [0, 0]]]
  first, *others = frames.tolist()
  assert batch["decoder_inputs"].tolist() == [[[0, 0], first, [0, 0], *others[1:3], [0, 0]]]
  assert batch["weights"].tolist() == [[1] * 5 + [0]]


def test_a_row_that_is_too_long_is_never_cut_silently():
  with np.testing.assert_raises(ValueError):
    lay_out([[[5, 6, 7]]], 2)

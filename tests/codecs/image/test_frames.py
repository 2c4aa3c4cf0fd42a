import json

import numpy as np
import pytest

from tfx_jax.codecs.image.frames import PatchFrames, make_frames
from tfx_jax.codecs.image.saved import read_codec
from tfx_jax.errors import UserError

SIZE = (6, 8)


def load(folder):
  return read_codec(str(folder), {"frames": make_frames})


@pytest.mark.parametrize("patch", [(1, 1), (2, 4), SIZE])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_nothing_is_lost(patch, channels):
  pictures = np.random.default_rng(0).integers(0, 256, (4, *SIZE, channels), np.uint8)
  pictures[0] = np.arange(6 * 8 * channels).reshape(pictures[0].shape)
  codec = PatchFrames(SIZE, patch, channels)
  frames = codec.encode(pictures)
  count = 48 // (patch[0] * patch[1])
  assert all(each.shape == (count, *codec.element.shape) for each in frames)
  assert all(each.dtype == np.float32 and np.abs(each).max() <= 1 for each in frames)
  for found, expected in zip(codec.decode(frames), pictures, strict=True):
    assert found.dtype == np.uint8 and np.array_equal(found, expected)


def test_frames_are_patches_in_the_order_of_reading():
  picture = np.arange(48, dtype=np.uint8).reshape(*SIZE, 1)
  (frames,) = PatchFrames(SIZE, (2, 4), 1).encode([picture])
  values = [4, 5, 6, 7, 12, 13, 14, 15]
  assert np.allclose(frames[1], np.array(values) / 127.5 - 1)


def test_numbers_out_of_range_become_black_and_white():
  (picture,) = PatchFrames((1, 4), (1, 1), 1).decode([np.array([[-3], [-0.5], [0.5], [9]])])
  assert picture.ravel().tolist() == [0, 64, 191, 255]


def test_a_saved_codec_is_the_same(tmp_path):
  codec = PatchFrames(SIZE, (2, 2), 3)
  codec.save(str(tmp_path))
  loaded = load(tmp_path)
  assert loaded.fingerprint == codec.fingerprint and loaded.shape == codec.shape == (6, 8, 3)
  others = (
    PatchFrames(SIZE, (2, 4), 3),
    PatchFrames(SIZE, (2, 2), 1),
    PatchFrames((8, 6), (2, 2), 3),
  )
  assert codec.fingerprint not in {other.fingerprint for other in others}


@pytest.mark.parametrize("changes", [{"patch": [4, 4]}, {"channels": 1}, {"kind": "other"}, None])
def test_a_damaged_codec_is_one_line(changes, tmp_path):
  PatchFrames(SIZE, (2, 2), 3).save(str(tmp_path))
  path = tmp_path / "codec.json"
  path.write_text("{" if changes is None else json.dumps(json.loads(path.read_text()) | changes))
  with pytest.raises(UserError) as error:
    load(tmp_path)
  assert "\n" not in str(error.value)


def test_a_picture_of_another_size_is_refused():
  with pytest.raises(UserError, match=r"image\.size"):
    PatchFrames(SIZE, (2, 2), 3).encode([np.zeros((6, 6, 3), np.uint8)])

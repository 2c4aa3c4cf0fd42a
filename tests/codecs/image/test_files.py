import numpy as np
import pytest
from PIL import Image

from tfx_jax.codecs.image.files import read_picture, write_picture
from tfx_jax.errors import UserError


def picture(channels=3):
  return np.random.default_rng(0).integers(0, 256, (4, 5, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_written_picture_is_read_unchanged(channels, tmp_path):
  path = str(tmp_path / "x.png")
  write_picture(path, picture(channels))
  assert np.array_equal(read_picture(path, (4, 5, channels)), picture(channels))


def test_a_scaled_picture_has_blocks(tmp_path):
  path = str(tmp_path / "x.png")
  write_picture(path, picture(), scale=3)
  large = read_picture(path, (12, 15, 3))
  assert np.array_equal(large, picture().repeat(3, axis=0).repeat(3, axis=1))


def test_colours_are_converted(tmp_path):
  path = str(tmp_path / "x.png")
  grey = picture(1)
  write_picture(path, grey)
  assert np.array_equal(read_picture(path, (4, 5, 3)), grey.repeat(3, axis=2))


def test_bad_files_are_one_line(tmp_path, monkeypatch):
  good, path = tmp_path / "good.png", tmp_path / "x.png"
  write_picture(str(good), picture())
  cases = [
    (None, "no file .*x.png"),
    (b"a text", "x.png is no picture"),
    (good.read_bytes()[:60], "x.png is damaged"),
  ]
  for content, message in cases:
    if content is not None:
      path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
      read_picture(str(path), (4, 5, 3))
    assert "\n" not in str(error.value)
  with pytest.raises(UserError, match=r"good.png has 4x5 pixels, not 8x8 \(image.size\)"):
    read_picture(str(good), (8, 8, 3))
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
  with pytest.raises(UserError, match=r"good.png has too many pixels"):
    read_picture(str(good), (4, 5, 3))


def test_a_folder_that_is_missing_is_one_line(tmp_path):
  with pytest.raises(UserError, match=r"cannot write .*none/x.png"):
    write_picture(str(tmp_path / "none" / "x.png"), picture())

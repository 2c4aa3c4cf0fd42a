import numpy as np
import pytest
from PIL import Image

from tfx_jax.common.picture_files import fit, pixels_of, read_picture, write_picture
from tfx_jax.errors import UserError


def picture(channels=3):
  return np.random.default_rng(0).integers(0, 256, (4, 5, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_written_picture_is_read_unchanged(channels, tmp_path):
  path = str(tmp_path / "x.png")
  write_picture(path, picture(channels))
  assert np.array_equal(read_picture(path), picture(channels))


def test_a_scaled_picture_has_blocks(tmp_path):
  path = str(tmp_path / "x.png")
  write_picture(path, picture(), scale=3)
  assert np.array_equal(read_picture(path), picture().repeat(3, axis=0).repeat(3, axis=1))


def test_channels_are_converted():
  grey, colours, alpha = picture(1), picture(3), picture(4)
  assert np.array_equal(fit(grey, (4, 5, 3), "exact", ""), grey.repeat(3, axis=2))
  luma = colours.astype(float) @ [0.299, 0.587, 0.114]
  assert np.abs(fit(colours, (4, 5, 1), "exact", "")[:, :, 0] - luma).max() <= 1
  alpha[0, :, 3], alpha[1, :, 3] = 0, 255
  flat = fit(alpha, (4, 5, 3), "exact", "")
  assert (flat[0] == 255).all() and np.array_equal(flat[1], alpha[1, :, :3])
  opaque = fit(colours, (4, 5, 4), "exact", "")
  assert np.array_equal(opaque[:, :, :3], colours) and (opaque[:, :, 3] == 255).all()


def test_other_sizes_are_refused_cut_or_padded():
  wide = np.zeros((10, 30, 3), np.uint8)
  wide[:, 10:20] = 200
  with pytest.raises(
    UserError, match=r"x.png is 10 pixels high and 30 wide, not 10 and 10 \(image.size\); .*crop"
  ):
    fit(wide, (10, 10, 3), "exact", "x.png")
  assert (fit(wide, (10, 10, 3), "crop", "") == 200).all()
  padded = fit(wide, (30, 30, 3), "pad", "")
  assert np.array_equal(padded[10:20], wide)
  assert (padded[:10] == 255).all() and (padded[20:] == 255).all()


def test_modes_that_lose_nothing_are_read(tmp_path):
  path = str(tmp_path / "x.png")
  colours = Image.fromarray(picture())
  for mode, channels in (("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("LA", 4), ("RGBA", 4)):
    colours.convert(mode).save(path)
    assert read_picture(path).shape == (4, 5, channels)
  Image.fromarray(np.full((4, 5), 300, np.uint16)).save(path)
  with pytest.raises(UserError, match=r"x\.png has more than 8 bits a value"):
    read_picture(path)
  # Cameras write how a picture is to be turned.
  exif = Image.Exif()
  exif[0x0112] = 6
  colours.save(str(tmp_path / "x.jpg"), exif=exif)
  assert read_picture(str(tmp_path / "x.jpg")).shape == (5, 4, 3)
  assert pixels_of(colours, "").shape == (4, 5, 3)


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
      read_picture(str(path))
    assert "\n" not in str(error.value)
  for limit in (15, 4):  # pixels: Pillow warns of more, and refuses twice as many
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UserError, match=r"good.png has too many pixels"):
      read_picture(str(good))


def test_a_folder_that_is_missing_is_one_line(tmp_path):
  with pytest.raises(UserError, match=r"cannot write .*none/x.png"):
    write_picture(str(tmp_path / "none" / "x.png"), picture())

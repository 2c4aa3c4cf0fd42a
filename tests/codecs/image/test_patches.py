import json

import numpy as np
import pytest

from tfx_jax.codecs.image.grid import cut
from tfx_jax.codecs.image.patches import PatchCodec, make_patches, train_patches
from tfx_jax.codecs.image.saved import read_codec
from tfx_jax.codecs.special_tokens import EOS, SPECIAL_PIECES
from tfx_jax.errors import UserError

SIZE, PATCH = (6, 8), (2, 4)


def load(folder):
  return read_codec(folder, {"patches": make_patches})


def pictures(count=5, levels=2, channels=3, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, levels, (count, *SIZE, channels), np.uint8) * 100


def same(found, expected):
  return all(map(np.array_equal, found, expected)) and len(found) == len(expected)


@pytest.mark.parametrize("patch", [(1, 1), (2, 2), (2, 4), (3, 1), SIZE])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_whose_patches_are_in_the_codebook_come_back_unchanged(patch, channels):
  values = pictures(channels=channels)
  codec = train_patches(values, SIZE, patch, codes=10_000)
  encoded = codec.encode(values)
  assert {len(ids) for ids in encoded} == {SIZE[0] * SIZE[1] // (patch[0] * patch[1])}
  assert same(codec.decode(encoded), values)
  ids = {i for sequence in encoded for i in sequence}
  known = set(range(len(SPECIAL_PIECES), codec.element.vocab_size))
  assert ids == known or (len(known) >= 2 ** (patch[0] * patch[1] * channels) and ids <= known)


def test_codes_of_a_few_values_are_complete_and_lose_nothing():
  # Only one of the patches of two values is in the pictures.
  codec = train_patches([np.full((*SIZE, 1), 7, np.uint8)], SIZE, (1, 2), codes=256)
  assert codec.element.vocab_size == len(SPECIAL_PIECES) + 1
  half = np.zeros((*SIZE, 1), np.uint8)
  half[:3] = 255
  codec = train_patches([half], SIZE, (2, 4), codes=256)
  assert codec.element.vocab_size == len(SPECIAL_PIECES) + 2**8
  others = pictures(20, channels=1) // 100 * 255
  assert same(codec.decode(codec.encode(others)), others)
  # The commonest come first, as in other codebooks.
  assert codec.encode([half])[0][-1] == len(SPECIAL_PIECES)
  grey = train_patches([half], SIZE, (1, 1), codes=256)
  noise = pictures(3, levels=3, channels=1, seed=1) + np.uint8(9)
  assert same(grey.decode(grey.encode(noise)), noise)


def test_ids_can_follow_those_of_another_codec(tmp_path):
  values = pictures()
  codec = train_patches(values, SIZE, PATCH, 100)
  behind = codec.behind(50)
  shift = 50 - len(SPECIAL_PIECES)
  assert behind.encode(values) == [[i + shift for i in ids] for ids in codec.encode(values)]
  assert behind.element.vocab_size == codec.element.vocab_size + shift
  assert behind.element.others == 50
  assert same(behind.decode(behind.encode(values)), values)
  assert behind.fingerprint != codec.fingerprint
  behind.save(str(tmp_path))
  assert load(str(tmp_path)).fingerprint == codec.fingerprint


def test_patches_are_in_the_order_of_reading():
  picture = np.arange(48, dtype=np.uint8).reshape(*SIZE, 1)
  patches = cut(picture, PATCH)
  assert patches.shape == (6, 2, 4, 1)
  assert patches[1, :, :, 0].tolist() == [[4, 5, 6, 7], [12, 13, 14, 15]]
  assert patches[2, 0, 0, 0] == 16


def test_other_patches_become_the_nearest_entry():
  codec = PatchCodec(np.array([[[[0]]], [[[100]]], [[[200]]]], np.uint8), (1, 4))
  (ids,) = codec.encode([np.array([[[40], [60], [149], [255]]], np.uint8)])
  assert codec.decode([ids])[0].ravel().tolist() == [0, 100, 100, 200]


def test_new_patches_leave_no_trace():
  codec = train_patches(pictures(1), SIZE, PATCH, 100)
  known = len(codec._numbers)
  others = pictures(4, levels=3, seed=1)
  assert codec.encode(others) == [codec.encode([each])[0] for each in others]
  assert len(codec._numbers) == known


def test_a_sequence_of_another_length_is_a_picture_too():
  values = pictures(1)
  codec = train_patches(values, SIZE, PATCH, 100)
  (ids,) = codec.encode(values)
  assert same(codec.decode([[*ids, EOS, 5], [*ids, 7, 7], ids]), [values[0]] * 3)
  (short,) = codec.decode([[*ids[:2], EOS]])
  assert short.shape == values[0].shape and np.array_equal(short[:2], values[0][:2])
  # Missing patches are the commonest one.
  assert np.array_equal(short[2:], codec.decode([[len(SPECIAL_PIECES)] * 6])[0][2:])


def test_a_small_codebook_is_closer_than_some_of_the_patches(caplog):
  values = np.random.default_rng(0).normal(128, 40, (40, *SIZE, 1)).clip(0, 255).astype(np.uint8)

  def error(codec):
    back = np.stack(codec.decode(codec.encode(values)))
    return float(((back.astype(float) - values) ** 2).mean())

  with caplog.at_level("WARNING"):
    codec = train_patches(values, SIZE, PATCH, codes=16)
  assert "240 different patches: each becomes the nearest of image.codes=16" in caplog.text
  assert codec.element.vocab_size == 16 + len(SPECIAL_PIECES)
  some = PatchCodec(np.concatenate([cut(value, PATCH) for value in values])[:16], SIZE)
  assert error(codec) < 0.8 * error(some)
  again = train_patches(values, SIZE, PATCH, codes=16)
  assert codec.fingerprint == again.fingerprint


def test_a_saved_codec_is_the_same(tmp_path):
  values = pictures()
  codec = train_patches(values, SIZE, PATCH, 100)
  codec.save(str(tmp_path / "codec"))
  loaded = load(str(tmp_path / "codec"))
  assert loaded.fingerprint == codec.fingerprint and loaded.shape == codec.shape
  assert loaded.encode(values) == codec.encode(values)
  assert codec.measure(values[0]) == {"pictures": 1, "values": 6 * 8 * 3}


def test_what_decides_the_tokens_decides_the_fingerprint():
  codecs = [
    train_patches(pictures(), SIZE, PATCH, 100),
    train_patches(pictures(seed=1), SIZE, PATCH, 100),
    train_patches(pictures(), SIZE, (2, 2), 100),
  ]
  assert len({codec.fingerprint for codec in codecs}) == 3


@pytest.mark.parametrize("damage", ["codec.json", "codebook.npy", "size", "missing"])
def test_a_damaged_codec_is_one_line(damage, tmp_path):
  folder = tmp_path / "codec"
  train_patches(pictures(), SIZE, PATCH, 100).save(str(folder))
  if damage == "missing":
    (folder / "codebook.npy").unlink()
  elif damage == "size":
    spec = json.loads((folder / "codec.json").read_text())
    (folder / "codec.json").write_text(json.dumps(spec | {"size": [12, 8]}))
  else:
    (folder / damage).write_bytes(b"{}")
  with pytest.raises(UserError, match="codec") as error:
    load(str(folder))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("size", "patch", "message"),
  [
    ((6, 8), (4, 4), r"image.patch=\(4, 4\) does not divide image.size=\(6, 8\)"),
    ((6, 8), (0, 4), r"image.patch=\(0, 4\): use a pair \(HEIGHT, WIDTH\)"),
    (16, (1, 1), r"image.size=16: use a pair"),
    (
      (4, 4),
      (2, 2),
      r"a picture is uint8 \[6, 8, 3\], others are uint8 \[4, 4, 3\]: see image.size",
    ),
  ],
)
def test_sizes_that_do_not_fit_are_named(size, patch, message):
  with pytest.raises(UserError, match=message):
    train_patches(pictures(), size, patch, 100)


def test_other_pictures_are_refused():
  codec = train_patches(pictures(), SIZE, PATCH, 100)
  for wrong in (np.zeros((6, 8, 1), np.uint8), np.zeros((8, 6, 3), np.uint8), np.zeros((6, 8, 3))):
    with pytest.raises(UserError, match=r"the codec has uint8 \[6, 8, 3\]: see image.size"):
      codec.encode([wrong])
  with pytest.raises(UserError, match="no pictures"):
    train_patches([], SIZE, PATCH, 100)

import gzip

import numpy as np
import pytest
from support.tiny_pictures import idx

from tfx_jax.errors import MissingFile, UserError
from tfx_jax.sources.formats import open_source
from tfx_jax.sources.idx import FIELDS

COUNT = 1500  # more than a chunk


@pytest.fixture(scope="module")
def arrays():
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (COUNT, 4, 6), np.uint8), rng.integers(0, 10, COUNT, np.uint8)


@pytest.fixture
def prefix(arrays, tmp_path):
  images, labels = arrays
  (tmp_path / "t-images-idx3-ubyte").write_bytes(idx(images))
  (tmp_path / "t-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
  return str(tmp_path / "t")


def test_records_are_the_pictures_in_order(arrays, prefix):
  records = list(open_source("idx", prefix, FIELDS))
  assert [r["label"] for r in records] == [str(label) for label in arrays[1]]
  assert {r["name"] for r in records} == {"digit"}
  assert np.array_equal([r["picture"][:, :, 0] for r in records], arrays[0])
  binary = np.array([r["binary"] for r in records])[..., 0]
  assert np.array_equal(binary, np.where(arrays[0] > 127.5, 255, 0))
  part = list(open_source("idx", f"{prefix}[:20%]", ["label"]))
  assert part == [{"label": r["label"]} for r in records[: COUNT // 5]]


def test_sampled_pixels_are_white_as_often_as_they_are_bright(arrays, prefix):
  source = open_source("idx", prefix, ["sampled"])
  sampled = np.array([record["sampled"] for record in source])[..., 0]
  assert set(np.unique(sampled)) == {0, 255}
  assert (sampled[arrays[0] == 255] == 255).all() and (sampled[arrays[0] == 0] == 0).all()
  for low, high in ((30, 70), (200, 240)):
    inside = (arrays[0] >= low) & (arrays[0] < high)
    assert sampled[inside].mean() == pytest.approx(arrays[0][inside].mean(), rel=0.05)
  assert np.array_equal(sampled, np.array([record["sampled"] for record in source])[..., 0])


def test_fingerprints_differ_with_contents_and_fields(arrays, prefix, tmp_path):
  first = open_source("idx", prefix, ["picture"]).fingerprint
  assert first == open_source("idx", prefix, ["picture"]).fingerprint
  assert first != open_source("idx", prefix, ["binary"]).fingerprint
  (tmp_path / "t-images-idx3-ubyte").write_bytes(idx(arrays[0] // 2))
  assert first != open_source("idx", prefix, ["picture"]).fingerprint


def test_bad_files_are_one_line(arrays, prefix, tmp_path):
  with pytest.raises(MissingFile, match=r"no file none-images-idx3-ubyte\[.gz\]"):
    open_source("idx", "none", ["label"])
  with pytest.raises(UserError, match="IDX files have no 'lable', did you mean 'label'"):
    open_source("idx", prefix, ["lable"])
  images, labels = tmp_path / "t-images-idx3-ubyte", tmp_path / "t-labels-idx1-ubyte.gz"
  good = images.read_bytes(), labels.read_bytes()
  for number, content, message in (
    (0, good[0][:-1], "images-idx3-ubyte is no IDX file of bytes, or is truncated"),
    (0, good[0][:9], "truncated"),
    (0, b"", "truncated"),
    (0, b"text", "no IDX file"),
    (1, good[1][:-9], "cannot read .*labels-idx1-ubyte.gz"),
    (1, gzip.compress(idx(arrays[1][1:])), "do not belong together"),
  ):
    for path, whole in zip((images, labels), good, strict=True):
      path.write_bytes(whole)
    (images, labels)[number].write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
      open_source("idx", prefix, ["label"])
    assert "\n" not in str(error.value)

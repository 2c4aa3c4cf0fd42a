import logging

import numpy as np
import pytest

from tfx_jax.errors import UserError
from tfx_jax.sources.fitted import FittedPictures


class Records:
  fingerprint = "some"

  def __init__(self, *shapes):
    self._shapes = shapes

  def __iter__(self):
    for number, shape in enumerate(self._shapes):
      yield {"text": "x", "image": np.full(shape, 9, np.uint8), "file_name": f"{number}.png"}


def test_all_pictures_have_one_shape_and_a_message_counts_those_that_were_changed(caplog):
  source = FittedPictures(Records((4, 4, 3), (4, 4, 1), (8, 8, 3)), (4, 4, 3), "crop")
  with caplog.at_level(logging.WARNING, logger="absl"):
    records = list(source)
    list(source)
  assert all(np.array_equal(r["image"], np.full((4, 4, 3), 9)) for r in records)
  assert {r["text"] for r in records} == {"x"}
  assert [r.getMessage() for r in caplog.records] == [
    "2 picture(s) of 2 shapes, such as [4, 4, 1] fitted to [4, 4, 3]"
  ]


def test_a_picture_of_another_size_is_named():
  with pytest.raises(UserError, match=r"1\.png is 8 pixels high and 8 wide, not 4 and 4"):
    list(FittedPictures(Records((4, 4, 3), (8, 8, 3)), (4, 4, 3), "exact"))


def test_the_fingerprint_is_that_of_records_shape_and_treatment():
  sources = [
    FittedPictures(Records(), shape, how)
    for shape, how in (((4, 4, 3), "crop"), ((4, 4, 1), "crop"), ((4, 4, 3), "pad"))
  ]
  assert len({source.fingerprint for source in sources}) == 3

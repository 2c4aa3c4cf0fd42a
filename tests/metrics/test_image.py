import math
import random

import numpy as np
import pytest

from tfx_jax.errors import UserError
from tfx_jax.metrics.image import check_names, image_metrics
from tfx_jax.sources.scenes import Thing, draw

RELATIONS = ("above",)
THINGS = Thing("small", "red", "ring"), Thing("large", "blue", "cross")


def mean_brightness(predictions, references):
  return {"brightness": float(np.mean([p.mean() for p in predictions]))}


def test_scenes_are_compared_by_their_objects_not_their_places():
  rng = random.Random(0)
  one = draw(RELATIONS, THINGS, rng)
  several = [draw(RELATIONS, THINGS, rng) for _ in range(9)]
  moved = next(picture for picture in several if not np.array_equal(picture, one))
  turned = draw(RELATIONS, THINGS[::-1], rng)
  found = image_metrics(
    ("exact_match", "scene_match"), [one, moved, turned], [one] * 3, ["a", "a", "b"]
  )
  assert found == {
    "exact_match": pytest.approx(100 / 3),
    "exact_match/a": 50.0,
    "exact_match/b": 0.0,
    "scene_match": pytest.approx(200 / 3),
    "scene_match/a": 100.0,
    "scene_match/b": 0.0,
  }


def test_nothing_is_never_right():
  blank = np.full((16, 16, 3), 255, np.uint8)
  picture = draw(RELATIONS, THINGS, random.Random(0))
  found = image_metrics(("exact_match", "scene_match"), [None, blank, picture], [picture] * 3)
  assert found == {"exact_match": pytest.approx(100 / 3), "scene_match": pytest.approx(100 / 3)}
  # No object is found in either picture, which does not make them the same scene.
  assert image_metrics(("scene_match",), [blank], [np.zeros_like(blank)]) == {"scene_match": 0.0}


def test_a_function_of_the_user_gets_the_pictures():
  pictures = [np.full((2, 2, 3), 10, np.uint8), np.full((2, 2, 3), 20, np.uint8)]
  name = f"{__name__}:mean_brightness"
  check_names([name])
  assert image_metrics([name], pictures, pictures) == {"brightness": 15.0}


def test_unknown_names_are_refused():
  with pytest.raises(UserError, match=r"task.metrics='scene_mach'.*did you mean 'scene_match'"):
    check_names(("scene_mach",))
  with pytest.raises(UserError, match="0 predictions"):
    image_metrics(("exact_match",), [], [])


def test_the_noise_of_pictures_is_measured_in_decibels():
  reference = np.zeros((2, 2, 3), np.uint8)
  wrong = reference.copy()
  wrong[0, 0, 0] = 255
  found = image_metrics(("psnr",), [wrong, reference], [reference] * 2)
  assert found == {"psnr": pytest.approx(10 * np.log10(24))}
  assert image_metrics(("psnr",), [reference], [reference]) == {"psnr": math.inf}
  # Differences are not those of bytes that wrap around.
  assert image_metrics(("psnr",), [reference], [reference + np.uint8(255)]) == {"psnr": 0.0}
  assert image_metrics(("psnr",), [None], [wrong]) == {"psnr": 0.0}

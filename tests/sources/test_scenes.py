import itertools
import random

import numpy as np
import pytest

from tfx_jax.errors import UserError
from tfx_jax.metrics.scenes import describe_scene
from tfx_jax.sources.cldr import nearest_neighbour_exact_match
from tfx_jax.sources.formats import open_source
from tfx_jax.sources.scenes import FIELDS, LAYOUTS, SIZES, THINGS, ScenesSource, caption, draw


@pytest.fixture(scope="module")
def splits():
  return {split: list(open_source("scenes", split, FIELDS)) for split in SIZES}


def objects(text):
  """The objects of a caption, in alphabetical order."""
  for relation in (" left of ", " above "):
    text = text.replace(relation, ",")
  return tuple(sorted(text.split(",")))


def test_sizes_and_kinds(splits):
  assert {split: len(records) for split, records in splits.items()} == SIZES
  assert {r["kind"] for r in splits["train"]} == {"one", "two", "three"}
  for split in ("validation", "test"):
    kinds = [record["kind"] for record in splits[split]]
    assert set(kinds) == {"two", "three"} and min(map(kinds.count, set(kinds))) > 200


def test_captions_are_different_and_combinations_are_in_one_split(splits):
  texts = [record["caption"] for records in splits.values() for record in records]
  assert len(set(texts)) == len(texts)
  combinations = [{objects(r["caption"]) for r in records} for records in splits.values()]
  for one, other in itertools.combinations(combinations, 2):
    assert not one & other


def test_all_words_and_objects_are_in_training(splits):
  train = splits["train"]
  assert {objects(r["caption"]) for r in train if r["kind"] == "one"} == {
    (f"a {' '.join(thing)}",) for thing in THINGS
  }
  words = {word for record in train for word in record["caption"].split()}
  assert {word for record in splits["test"] for word in record["caption"].split()} <= words


def test_copying_the_picture_of_the_nearest_caption_is_never_right(splits):
  train, test = (
    [(r["caption"], describe_scene(r["picture"])) for r in splits[split]]
    for split in ("train", "test")
  )
  assert nearest_neighbour_exact_match(train, test[:200]) == 0


def test_the_parser_finds_what_was_drawn(splits):
  for record in [*splits["test"], *splits["train"][:3000]]:
    assert describe_scene(record["picture"]) == record["caption"]


@pytest.mark.parametrize("relations", LAYOUTS, ids="-".join)
def test_objects_of_one_colour_that_touch_are_told_apart(relations):
  rng = random.Random(0)
  same = [thing for thing in THINGS if thing.colour == "red"]
  for things in itertools.islice(
    itertools.product(same, repeat=len(LAYOUTS[relations])), 0, 900, 7
  ):
    assert describe_scene(draw(relations, things, rng)) == caption(relations, things)


def test_the_parser_finds_nothing_where_a_pixel_is_wrong(splits):
  rng = np.random.default_rng(0)
  for record in splits["test"][:100]:
    picture = record["picture"].copy()
    row, column = rng.integers(0, 16, 2)
    picture[row, column] = (220, 40, 40) if picture[row, column].min() > 250 else 255
    assert describe_scene(picture) != record["caption"]
  assert describe_scene(np.full((16, 16, 3), 255, np.uint8)) == ""
  assert describe_scene(rng.integers(0, 256, (16, 16, 3), np.uint8)) == ""


def test_records_are_the_same_each_time(splits):
  again = list(ScenesSource("validation", FIELDS))
  for one, other in zip(splits["validation"], again, strict=True):
    assert one["caption"] == other["caption"] and np.array_equal(one["picture"], other["picture"])


def test_unknown_names_are_refused():
  with pytest.raises(UserError, match="unknown split 'tset', did you mean 'test'"):
    ScenesSource("tset", FIELDS)
  with pytest.raises(UserError, match="scenes have no 'pictur', did you mean 'picture'"):
    ScenesSource("test", ("caption", "pictur"))

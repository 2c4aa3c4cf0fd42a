"""A data set for TensorFlow Datasets, made on the spot."""

import random

import tensorflow_datasets as tfds


def pairs(count):
  """Records of two texts, some empty, some not ASCII."""
  rng = random.Random(0)
  words = [
    " ".join("".join(rng.choices("abcdef", k=3)) for _ in range(i % 4)) for i in range(count)
  ]
  return [{"en": f"{text} {i}", "de": f"ä{text.upper()}"} for i, text in enumerate(words)]


class TinyPairs(tfds.core.GeneratorBasedBuilder):
  """Made on the spot; `contents` may be changed by a test."""

  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [
    tfds.core.BuilderConfig(name="de-en", description="flat"),
    tfds.core.BuilderConfig(name="nested", description="nested"),
  ]
  contents = {"train": pairs(200), "test": pairs(20)}

  def _info(self):
    features = tfds.features.Translation(languages=("de", "en"))
    if self.builder_config.name == "nested":
      features = tfds.features.FeaturesDict(
        {
          "pair": features,
          "kind": tfds.features.ClassLabel(names=["x"]),
          "words": tfds.features.Sequence(tfds.features.Text()),
        }
      )
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(split) for split in self.contents}

  def _generate_examples(self, split):
    for i, pair in enumerate(self.contents[split]):
      if self.builder_config.name == "nested":
        yield i, {"pair": pair, "kind": "x", "words": pair["en"].split()}
      else:
        yield i, pair

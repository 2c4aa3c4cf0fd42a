"""Data sets for TensorFlow Datasets, made on the spot."""

import io
import random

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


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


class TinyPictures(tfds.core.GeneratorBasedBuilder):
  """Pictures of noise with labels."""

  VERSION = tfds.core.Version("1.0.0")
  contents = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)

  def _info(self):
    image = tfds.features.Image(shape=(None, None, 3))
    label = tfds.features.ClassLabel(names=["cat", "dog"])
    features = tfds.features.FeaturesDict({"image": image, "label": label})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for number, picture in enumerate(self.contents):
      # Given as a file, because TFDS encodes arrays with TensorFlow.
      file = io.BytesIO()
      Image.fromarray(picture).save(file, "PNG")
      file.seek(0)
      yield number, {"image": file, "label": number % 2}

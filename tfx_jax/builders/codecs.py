"""From the configuration to the codecs of sources and targets, which are saved in the workdir."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np
from ml_collections import ConfigDict

from tfx_jax.builders.data import make_source, make_task
from tfx_jax.builders.image_codes import image_frames, make_learned, trained_codes
from tfx_jax.builders.named import arguments_of
from tfx_jax.builders.sides import side_kinds
from tfx_jax.codecs.codec import AnyValue, Codec
from tfx_jax.codecs.image.frames import PatchFrames, make_frames
from tfx_jax.codecs.image.learned import LearnedCodec
from tfx_jax.codecs.image.patches import PatchCodec, make_patches, train_patches
from tfx_jax.codecs.image.saved import read_codec
from tfx_jax.codecs.text.loading import load_tokenizer, train_tokenizer
from tfx_jax.codecs.text.tokenizer import Tokenizer, without_source_suffix
from tfx_jax.generation.inputs import is_text

SIDES = ("source", "target")
# Folder of the codec of pictures in a workdir; tokenizers are in `tokenizer/joint` or of a side.
_IMAGE, _TOKENIZER = "image", "tokenizer"
# Makers of saved codecs of pictures, by kind.
_IMAGE_CODECS = {
  PatchCodec.kind: make_patches,
  PatchFrames.kind: make_frames,
  LearnedCodec.kind: make_learned,
}
Codecs = tuple[Codec, Codec]


def make_codecs(
  config: ConfigDict, workdir: str, given: Callable[[], Codecs] | None = None
) -> Codecs:
  """Returns the codecs of sources and targets, and saves new ones in the workdir.

  Args:
    config: the configuration.
    workdir: the folder of the run; the codecs that are saved there have precedence.
    given: returns the codecs of a pretrained model; None to load or train codecs.
  """
  if given is None:
    _make_new(config, workdir)
  # The one that is saved last: if it is there, the other is, too.
  elif not os.path.isdir(_folders(config, workdir)[1]):
    source, target = given()
    joint = source is target and "image" not in side_kinds(config)
    folders = _folders(config, workdir, joint)
    for folder, codec in dict(zip(folders, (source, target), strict=True)).items():
      codec.save(folder)
  return saved_codecs(config, workdir)


def saved_codecs(config: ConfigDict, workdir: str) -> Codecs:
  """Returns the codecs of sources and targets that are saved in the workdir."""
  folders, kinds = _folders(config, workdir), side_kinds(config)
  source, target = (
    read_codec(folder, _IMAGE_CODECS) if kind == "image" else load_tokenizer(folder)
    for folder, kind in zip(folders, kinds, strict=True)
  )
  return as_configured(config, (source, target))


def as_configured(config: ConfigDict, codecs: Codecs) -> Codecs:
  """Returns the codecs with the special tokens and the vocabulary that the configuration asks for.

  A decoder-only model has one vocabulary for both sides: the ids of pictures follow those of texts.
  """
  source, target = codecs
  if not config.data.end_sources:
    source, target = (without_source_suffix(codec) if is_text(codec) else codec for codec in codecs)
  if config.model.architecture == "decoder_only":
    if isinstance(source, PatchCodec | LearnedCodec) and is_text(target):
      source = source.behind(target.vocab_size)
    if isinstance(target, PatchCodec | LearnedCodec) and is_text(source):
      target = target.behind(source.vocab_size)
  return source, target


def _folders(config: ConfigDict, workdir: str, joint: bool | None = None) -> tuple[str, str]:
  """Returns the folder of each side's codec.

  Args:
    config: the configuration.
    workdir: the folder of the run.
    joint: whether two sides of text share a tokenizer; by default as configured, unless there is
      one of the sources: tokenizers of pretrained models may share their pieces, but not the
      special tokens.
  """
  tokenizer = os.path.join(workdir, _TOKENIZER)
  if "image" in (kinds := side_kinds(config)):
    paths = (
      os.path.join(workdir, _IMAGE) if kind == "image" else os.path.join(tokenizer, side)
      for side, kind in zip(SIDES, kinds, strict=True)
    )
  else:
    if joint is None:
      joint = config.tokenizer.joint and not os.path.isdir(os.path.join(tokenizer, "source"))
    paths = (os.path.join(tokenizer, "joint" if joint else side) for side in SIDES)
  source, target = paths
  return source, target


def _make_new(config: ConfigDict, workdir: str) -> None:
  """Loads or trains the codecs that are not in the workdir yet, and saves them there."""
  folders, kinds = _folders(config, workdir), side_kinds(config)
  for folder in dict.fromkeys(folders):
    if os.path.isdir(folder):
      continue
    sides = tuple(number for number, other in enumerate(folders) if other == folder)
    values = _Values(config, sides)
    if kinds[sides[0]] == "image":
      _make_image_codec(config, values).save(folder)
    else:
      _make_tokenizer(config, os.path.basename(folder), values).save(folder)


def _make_image_codec(config: ConfigDict, values: "_Values") -> Codec:
  """Returns the codec of pictures: of an autoencoder, of frames, or with a codebook."""
  if config.image.path:
    return trained_codes(config)
  if not config.image.codes:
    return image_frames(config)
  pictures = (value for value in values if isinstance(value, np.ndarray))
  return train_patches(pictures, **arguments_of(train_patches, config.image))


def _make_tokenizer(config: ConfigDict, name: str, texts: "_Values") -> Tokenizer:
  """Returns the tokenizer NAME, loaded from `tokenizer.path` or trained."""
  settings = config.tokenizer.to_dict()
  settings.pop("joint")
  if path := settings.pop("path"):
    return load_tokenizer(path if name == "joint" else os.path.join(path, name))
  return train_tokenizer(texts, **settings)


@dataclasses.dataclass(frozen=True)
class _Values:
  """The values of the training examples, read anew in each iteration.

  Attributes:
    config: the configuration.
    sides: 0 for their sources, 1 for their targets.
  """

  config: ConfigDict
  sides: tuple[int, ...]

  def __iter__(self) -> Iterator[AnyValue]:
    examples = make_task(self.config).examples
    source = make_source(self.config, "train")
    for example in itertools.chain.from_iterable(map(examples, source)):
      values = (example.source, example.target)
      yield from (values[side] for side in self.sides if values[side] is not None)

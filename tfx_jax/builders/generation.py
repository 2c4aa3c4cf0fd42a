"""The generator that a configuration asks for."""

from typing import cast

from ml_collections import ConfigDict

from tfx_jax.builders.data import make_layout
from tfx_jax.builders.named import arguments_of
from tfx_jax.codecs.codec import Codec
from tfx_jax.generation.any_generator import AnyGenerator
from tfx_jax.generation.generator import Generator
from tfx_jax.generation.inputs import tokens_of
from tfx_jax.generation.masked import MaskedGenerator
from tfx_jax.generation.reconstruction import Reconstructor
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.models.autoencoder import AutoencoderModel
from tfx_jax.models.masked import MaskedModel
from tfx_jax.models.model import Model
from tfx_jax.parallel import Parallel


def make_generate_settings(config: ConfigDict) -> GenerateSettings:
  """Returns the settings of generation."""
  return GenerateSettings(**arguments_of(GenerateSettings, config.generate))


def make_generator(
  config: ConfigDict, model: Model, codecs: tuple[Codec, Codec], parallel: Parallel
) -> AnyGenerator:
  """Returns the generator of a model whose outputs are tokens, such as texts, or an autoencoder."""
  layout, settings = make_layout(config, codecs), make_generate_settings(config)
  if config.model.architecture == "autoencoder":
    return Reconstructor(cast(AutoencoderModel, model), parallel, codecs[1], layout, settings)
  if config.model.architecture == "masked":
    mask = tokens_of(codecs[1]).special_tokens.mask
    return MaskedGenerator(cast(MaskedModel, model), parallel, *codecs, layout, settings, mask)
  return Generator(model, parallel, *codecs, layout, settings)

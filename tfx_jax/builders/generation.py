"""From the configuration to what generates texts."""

from flax import linen as nn
from ml_collections import ConfigDict

from tfx_jax.builders.data import make_layout
from tfx_jax.builders.named import arguments_of
from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.generation.generator import Generator
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.parallel import Parallel


def make_generate_settings(config: ConfigDict) -> GenerateSettings:
  """The settings of generation."""
  return GenerateSettings(**arguments_of(GenerateSettings, config.generate))


def make_generator(
  config: ConfigDict,
  model: nn.Module,
  tokenizers: tuple[Tokenizer, Tokenizer],
  parallel: Parallel,
) -> Generator:
  """The generator of `config.generate`."""
  layout = make_layout(config, tokenizers)
  return Generator(model, parallel, *tokenizers, layout, make_generate_settings(config))

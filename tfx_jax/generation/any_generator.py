"""The generators that a run may have; all are called in the same way."""

from tfx_jax.generation.generator import Generator
from tfx_jax.generation.masked import MaskedGenerator
from tfx_jax.generation.reconstruction import Reconstructor

AnyGenerator = Generator | MaskedGenerator | Reconstructor

"""tfx_jax: Transformers that generate, in JAX and Flax.

`tfx_jax.load(workdir)` opens a trained run; everything else is reached through
`python -m tfx_jax.main` and the config files in `experiments/`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from tfx_jax.run.loading import load
  from tfx_jax.run.run import Run

__all__ = ["Run", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
  """Imports `load` and `Run` when first asked for: importing the package alone starts no JAX."""
  if name in __all__:
    from tfx_jax.run import loading

    return getattr(loading, name)
  raise AttributeError(f"module 'tfx_jax' has no attribute '{name}'")

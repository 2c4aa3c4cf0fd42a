"""tfx_jax: Transformers that generate, in JAX and Flax.

`tfx_jax.experiment(name)` returns a configuration, `tfx_jax.train(config, workdir)` trains a run,
and `tfx_jax.load(workdir)` opens a trained one. The command line is `python -m tfx_jax.main`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from tfx_jax.cli.call import experiment, plan, train
  from tfx_jax.run.loading import load
  from tfx_jax.run.run import Run

__all__ = ["Run", "experiment", "load", "plan", "train"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
  """Imports a public name when first asked for: importing the package alone starts no JAX."""
  if name in ("experiment", "plan", "train"):
    from tfx_jax.cli import call

    return getattr(call, name)
  if name in __all__:
    from tfx_jax.run import loading

    return getattr(loading, name)
  raise AttributeError(f"module 'tfx_jax' has no attribute '{name}'")

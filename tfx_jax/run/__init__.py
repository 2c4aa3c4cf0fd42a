"""Trained runs, opened for people and notebooks."""

from tfx_jax.run.loading import load
from tfx_jax.run.run import Run

__all__ = ["Run", "load"]

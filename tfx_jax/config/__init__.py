"""The configuration: defaults of all keys, and how it is read and written."""

from tfx_jax.config.defaults import base

__all__ = ["base"]

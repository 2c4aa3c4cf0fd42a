"""Helpers that every folder may import, like `tfx_jax.errors`; they know no models and no data."""

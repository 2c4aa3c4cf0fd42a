"""What every folder may import, beside `tfx_jax.errors`: it knows nothing of models or data."""

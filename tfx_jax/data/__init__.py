"""Text to batches; no JAX in here."""

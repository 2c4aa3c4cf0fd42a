"""Data: a corpus of examples on disk, and batches from it; no JAX in here."""

"""Checkpoints of a training run: saving, verification and restoring."""

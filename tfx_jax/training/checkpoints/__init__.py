"""Checkpoints: save, verify, restore."""

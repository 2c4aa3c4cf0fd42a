"""Sweeps: runs of one experiment with different settings, and their results side by side."""

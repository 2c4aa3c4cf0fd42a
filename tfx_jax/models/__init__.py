"""Architectures made of layers; all have the same few methods."""

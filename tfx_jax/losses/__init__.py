"""Losses, each as a sum and the weight to divide it by."""

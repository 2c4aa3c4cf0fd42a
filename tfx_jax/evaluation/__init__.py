"""Evaluation: loss, scores of given outputs, alignments, and comparisons of systems."""

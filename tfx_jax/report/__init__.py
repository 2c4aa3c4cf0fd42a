"""Reports of a run: progress, metrics, samples and pictures."""

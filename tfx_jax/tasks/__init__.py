"""Tasks: examples from records and scores of outputs; one file a task."""

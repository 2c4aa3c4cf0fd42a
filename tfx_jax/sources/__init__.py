"""Sources of records: files, TensorFlow Datasets, and corpora that are built in."""

"""A package, for tests/data has a test_corpus.py too."""

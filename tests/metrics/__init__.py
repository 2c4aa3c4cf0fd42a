"""Tests of metrics; a package because tests/data has a test_corpus.py, too."""

"""A package, for tests/evaluation has files of the same names."""

"""The compared systems, one file each, with functions as benchmarks/rounds.py expects them."""

"""Ours and its peers, each in a file: `make(**arguments) -> (run, facts)`, see `rounds.py`."""

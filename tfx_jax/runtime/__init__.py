"""The process that a run lives in: signals, supervision, memory, several processes, caches."""

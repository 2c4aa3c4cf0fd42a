"""The program: `python -m tfx_jax.main MODE …`, or `tfx MODE …` where it is installed."""

from tfx_jax.cli.start import main, start

__all__ = ["main", "start"]

if __name__ == "__main__":
  start()

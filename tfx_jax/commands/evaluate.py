"""Evaluates a trained run on a split, alone or against a baseline."""

from ml_collections import ConfigDict

from tfx_jax import build
from tfx_jax import run as run_lib
from tfx_jax.commands.console import bar, listing, say
from tfx_jax.curves import draw_curves
from tfx_jax.report import MetricsLog, write_samples


def evaluate(config: ConfigDict, workdir: str) -> int:
  """Decodes a split, scores it, and records the figures with the checkpoint they are of."""
  split = config.evaluate.split
  run = run_lib.load(workdir, config=config)
  count = len(build.read_examples(config, split))
  with bar(count, f"decoding {split}") as progress:
    figures, rows = run.evaluate(split, progress.update)
  figures = {"checkpoint": config.evaluate.checkpoint, "checkpoint_step": run.step, **figures}
  log = MetricsLog(workdir)
  log.write(run.step, split, figures)
  log.close()
  say(write_samples(workdir, run.step, split, rows, config.evaluate.num_samples))
  say(listing(figures))
  if picture := draw_curves(workdir):
    say(f"curves in {picture}")
  return 0

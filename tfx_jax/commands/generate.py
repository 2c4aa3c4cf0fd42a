"""Generates from lines of text with a trained run."""

from collections.abc import Sequence
from typing import TextIO

from ml_collections import ConfigDict

from tfx_jax import run as run_lib
from tfx_jax.commands.console import bar

# What a text may not hold where it is one line, or one column, of several.
_BREAKS = str.maketrans("\t\n\r", "   ")


def generate(config: ConfigDict, workdir: str, texts: Sequence[str], target: TextIO) -> int:
  """Generates from each text, in order, and writes a line for it; empty texts stay empty.

  With `generate.scores` or several hypotheses an input, lines are TSV: input number from 1, rank
  from 1, score, log-probability, text.
  """
  run = run_lib.load(workdir, config=config)
  with bar(sum(1 for text in texts if text.strip()), "generating") as progress:
    results = run.generator(run.params, texts, progress.update)
  table = config.generate.scores or config.generate.num_return > 1
  for number, hypotheses in enumerate(results, 1):
    if not table:
      target.write((hypotheses[0].text if hypotheses else "").translate(_BREAKS) + "\n")
      continue
    for rank, best in enumerate(hypotheses, 1):
      text = best.text.translate(_BREAKS)
      target.write(f"{number}\t{rank}\t{best.score:.6f}\t{best.log_prob:.6f}\t{text}\n")
  return 0

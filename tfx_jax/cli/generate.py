"""Generates from lines of text with a trained run."""

from collections.abc import Sequence
from typing import TextIO

from ml_collections import ConfigDict

from tfx_jax.cli.console import BREAKS, bar
from tfx_jax.errors import UserError
from tfx_jax.evaluation.align import pharaoh
from tfx_jax.run.loading import load
from tfx_jax.run.run import Run
from tfx_jax.runtime.signals import raising_terminated


@raising_terminated()  # again, because JAX takes SIGTERM over when processes are connected
def generate(config: ConfigDict, workdir: str, texts: Sequence[str], target: TextIO) -> int:
  """Generates from each text, in order, and writes a line for it; empty texts stay empty.

  With `generate.scores`, `generate.alignments` or several hypotheses an input, lines are TSV: input
  number from 1, rank from 1, score, log-probability, text, and the links of words if asked for.
  Tabs and line ends in an output become spaces.
  With `generate.stream` each output is written as it comes.
  """
  table = config.generate.scores or config.generate.alignments
  if config.generate.stream and table:
    raise UserError("generate.stream=True writes text alone: without scores and alignments")
  run = load(workdir, config=config)
  if config.generate.stream:
    return _stream(run, texts, target)
  with bar(sum(1 for text in texts if text.strip()), "generating") as progress:
    results = run.generator(run.params, texts, progress.update)
  aligned = config.generate.alignments
  if aligned:
    written = [
      (text, best.tokens) for text, found in zip(texts, results, strict=True) for best in found
    ]
    inputs, outputs = [text for text, _ in written], [ids for _, ids in written]
    alignments = iter(run.attention(inputs, outputs, warn=False))
  table = table or config.generate.num_return > 1
  for number, hypotheses in enumerate(results, 1):
    if not table:
      target.write((hypotheses[0].text if hypotheses else "").translate(BREAKS) + "\n")
      continue
    for rank, best in enumerate(hypotheses, 1):
      text = best.text.translate(BREAKS)
      links = f"\t{pharaoh(next(alignments).word_links())}" if aligned else ""
      target.write(f"{number}\t{rank}\t{best.score:.6f}\t{best.log_prob:.6f}\t{text}{links}\n")
  return 0


def _stream(run: Run, texts: Sequence[str], target: TextIO) -> int:
  for number, text in enumerate(texts):
    try:
      for piece in run.stream(text, number):
        target.write(piece.translate(BREAKS))
        target.flush()
    finally:
      # Who interrupts it finds a line that has ended.
      target.write("\n")
  return 0

"""Samples of a model's outputs, for people to read."""

import os
from collections.abc import Sequence

import numpy as np

from tfx_jax.common.whole_file import write_whole
from tfx_jax.report.pictures import Row, draw_examples
from tfx_jax.report.writing import writing

# Most examples of a picture.
_DRAWN = 24


def write_samples(workdir: str, step: int, split: str, rows: Sequence[Row], limit: int) -> str:
  """Writes WORKDIR/samples/STEP-SPLIT.txt, with a block of labelled texts per example.

  If examples have pictures, the first ones are drawn in WORKDIR/samples/STEP-SPLIT.png.

  Args:
    workdir: working directory of the run.
    step: step of training.
    split: 'validation' or 'test'.
    rows: values of each example by label (source, reference, prediction …), in display order:
      texts, or pictures, uint8 [H,W,C]; None is left out.
    limit: number of examples in the returned text; the file has all of them.

  Returns:
    The heading and the first `limit` blocks, for the terminal.

  Raises:
    UserError: if the disk is full or the workdir cannot be written.
  """
  heading = f"samples of {split}, step {step:,}"
  blocks = [heading, *map(_block, rows)]
  with writing(workdir):
    folder = os.path.join(workdir, "samples")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{step}-{split}.txt")
    write_whole(path, "\n\n".join(blocks) + "\n")
    if any(isinstance(value, np.ndarray) for row in rows for value in row.values()):
      drawn = os.path.join(folder, f"{step}-{split}.png")
      draw_examples(drawn, rows[:_DRAWN])
      blocks[0] += f": pictures in {drawn}"
  return "\n\n".join(blocks[: limit + 1])


def _block(row: Row) -> str:
  width = max(map(len, row), default=0) + 2
  newline = "\n" + " " * (width + 2)
  texts = {label: text for label, text in row.items() if isinstance(text, str)}
  shown = {label: text.replace("\n", newline) for label, text in texts.items()}
  return "\n".join(f"{label:>{width}}  {text}" for label, text in shown.items())

"""How the commands speak to the user: results go to standard output, messages to standard error."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_jax.runtime.processes import is_first
from tfx_jax.runtime.standard_streams import standard_output

# What a text may not hold where it is one line, or one column, of several; each becomes a space.
BREAKS = str.maketrans("\t\n\r", "   ")


def say(text: str) -> None:
  """Prints a message to standard error, once whatever the number of processes."""
  if is_first():
    print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
  """Prints a result to standard output, once whatever the number of processes."""
  if is_first():
    with standard_output() as target:
      target.write(f"{text}\n")


def listing(figures: Mapping[str, Any]) -> str:
  """Figures below each other, a line each."""
  width = max(map(len, figures))
  shown = (f"{v:.4f}" if isinstance(v, float) else v for v in figures.values())
  return "\n".join(f"{name:<{width}}  {value}" for name, value in zip(figures, shown, strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table in Markdown, its columns padded so that it reads well as it is too.

  The first column is aligned to the left, the others, of numbers, to the right.
  """
  cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
  first, *others = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]

  def line(row: Sequence[str]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(row[1:], others, strict=True)]
    return f"| {' | '.join([row[0].ljust(first), *padded])} |"

  rule = ["-" * first, *("-" * (width - 1) + ":" for width in others)]
  return "\n".join(line(row) for row in (cells[0], rule, *cells[1:]))


def bar(total: int, title: str) -> Any:
  """A progress bar of texts, on a terminal only."""
  from tqdm.auto import tqdm

  disable = None if is_first() else True
  return tqdm(total=total, desc=title, unit=" texts", file=sys.stderr, disable=disable)

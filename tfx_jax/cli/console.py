"""Output of the commands: results go to standard output, messages to standard error."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from tfx_jax.report.progress import Progress
from tfx_jax.runtime.processes import is_first
from tfx_jax.runtime.standard_streams import standard_output

# Characters that become spaces where a text is one line, or one column of a line.
BREAKS = str.maketrans("\t\n\r", "   ")


def say(text: str) -> None:
  """Prints a message to standard error, in the first process only."""
  if is_first():
    print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
  """Prints a result to standard output, in the first process only."""
  if is_first():
    with standard_output() as target:
      target.write(f"{text}\n")


def listing(metrics: Mapping[str, object]) -> str:
  """Returns a line for each metric, with the values in one column."""
  width = max(map(len, metrics))
  shown = (f"{v:.4f}" if isinstance(v, float) else v for v in metrics.values())
  return "\n".join(f"{name:<{width}}  {value}" for name, value in zip(metrics, shown, strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Returns a table in Markdown, with padded columns so that it is readable as text too.

  The first column is aligned to the left; the others, which have numbers, to the right.
  """
  cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
  first, *others = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]

  def line(row: Sequence[str]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(row[1:], others, strict=True)]
    return f"| {' | '.join([row[0].ljust(first), *padded])} |"

  rule = ["-" * first, *("-" * (width - 1) + ":" for width in others)]
  return "\n".join(line(row) for row in (cells[0], rule, *cells[1:]))


@contextlib.contextmanager
def texts_progress(total: int, title: str) -> Iterator[Callable[[int], None]]:
  """Shows the progress of work on texts; yields a function to call with how many more are done."""
  say(f"{title}: {total:,} texts; the first ones wait for programs to be compiled")
  progress, done = Progress(total, shown=is_first()), 0

  def add(count: int) -> None:
    nonlocal done
    done += count
    progress.update(done)

  try:
    yield add
  finally:
    progress.close()

"""A trained model in any library: rounds of a whole test set, texts to texts."""

import os
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any


def make(opener: str, folder: str, **arguments: Any) -> tuple[Callable, dict]:
  """Makes rounds that each translate all sources of the folder.

  Args:
    opener: "PACKAGE.MODULE:FUNCTION", a function that returns `translate` and facts; `translate`
      takes texts and returns for each (output, number of its tokens with EOS).
    folder: folder of `texts.txt`.
    **arguments: arguments of the opener.
  """
  translate, facts = pkgutil.resolve_name(opener)(**arguments)
  texts = read_lines(os.path.join(folder, "texts.txt"))

  def run(number: int) -> dict:
    outputs, lengths = zip(*translate(texts), strict=True)
    return {"output_tokens": sum(lengths), "lengths": lengths, "outputs": outputs}

  return run, facts


def read_lines(path: str) -> list[str]:
  """Returns the lines of a file."""
  with open(path, encoding="utf-8") as file:
    return file.read().split("\n")[:-1]


def batches(items: Sequence[Sequence], rows: int) -> list[list[int]]:
  """Returns the numbers of the items of each batch, of similar lengths, `rows` in each."""
  order = sorted(range(len(items)), key=lambda i: len(items[i]))
  return [order[first : first + rows] for first in range(0, len(order), rows)]

"""Sources for the other libraries to decode, by round."""

import json
import os


def read_rounds(folder: str, per_round: int):
  """Returns a function of a round's number that returns its sources, lists of ids."""
  with open(os.path.join(folder, "sources.json")) as file:
    sources = json.load(file)

  def part(number: int) -> list[list[int]]:
    first = number * per_round
    return [sources[i % len(sources)] for i in range(first, first + per_round)]

  return part

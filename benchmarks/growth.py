"""Growth of cost: time and memory of a training step, and time of decoding, along each size.

    python benchmarks/growth.py --output=growth [--what=training] [--axis=width]
        [--threads=2] [--rounds=3] [--dtype=float32] [--point=width=128,depth=4]
        [--values=64,128,256]

Along an axis, all other sizes are those of `--point`. The sizes of an axis take turns, each in a
separate process. Writes OUTPUT.json, a table OUTPUT.md and a picture OUTPUT.png: the measurements,
their slopes on logarithmic axes, and the slopes of counted operations and counted numbers at the
same sizes. A JSON line is printed for each size. With `--axis` only that axis is measured.
"""

import argparse
import json
import os
import statistics
from typing import Any

import flops
import growth_report
import numpy as np
import rounds
from summary import rounded

from tfx_jax.runtime.allocator import KEPT_BUFFERS

# The usual sizes. D is `width`, F is twice that, a head has 32 dimensions, both stacks have `depth`
# layers, and `length` is S and T.
POINT = {"width": 128, "depth": 4, "length": 64, "batch": 32, "vocabulary": 8000, "beam": 4}
AXES = {
  "training": {
    "width": (64, 128, 256, 512),
    "depth": (1, 2, 4, 8),
    "length": (16, 32, 64, 128, 256),
    "batch": (4, 8, 16, 32, 64),
    "vocabulary": (1000, 4000, 16_000, 64_000),
  },
  "decoding": {
    "beam": (1, 2, 4, 8, 16),
    "length": (16, 32, 64, 128),
    "batch": (1, 4, 16, 64),
  },
}
# Each size is compiled anew; this is enough for a steady time.
STEPS = {"training": 3, "decoding": 1}


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--output", required=True, help="prefix of the files' names")
  parser.add_argument("--what", choices=list(AXES), help="by default both")
  parser.add_argument("--axis", default="", help="by default all")
  parser.add_argument("--values", default="", help="sizes of the axis")
  parser.add_argument("--point", default="", help="NAME=NUMBER,… instead of the usual sizes")
  parser.add_argument("--threads", type=int, default=0, help="0: all processors")
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
  options = parser.parse_args()
  point = POINT | dict(_number(word) for word in options.point.split(",") if word)
  if unknown := point.keys() - POINT.keys():
    parser.error(f"--point has {', '.join(unknown)}; sizes are {', '.join(POINT)}")
  lines = []
  for what in [options.what] if options.what else AXES:
    for axis, values in AXES[what].items():
      if options.axis in ("", axis):
        values = [int(value) for value in options.values.split(",") if value] or values
        lines += measure(what, axis, values, point | {"dtype": options.dtype}, options)
  if not lines:
    parser.error(f"--axis={options.axis} is not one of {', '.join(AXES[options.what])}")
  growth_report.write(options.output, lines)


def _number(word: str) -> tuple[str, int]:
  name, _, value = word.partition("=")
  return name, int(value)


def measure(
  what: str, axis: str, values: Any, point: dict[str, Any], options: argparse.Namespace
) -> list[dict[str, Any]]:
  """Returns, for each size of an axis, measured and expected seconds and megabytes."""
  points = [point | {axis: value} for value in values]
  target = {"training": "systems.growing:train", "decoding": "systems.growing:decode"}[what]
  specifications = [
    {
      "name": f"{axis}={value}",
      "target": target,
      "arguments": {"point": place, "steps": STEPS[what]},
      "threads": options.threads,
      "environment": KEPT_BUFFERS,
    }
    for value, place in zip(values, points, strict=True)
  ]
  with rounds.children(specifications) as systems:
    results = rounds.interleave(systems, options.rounds)
    facts = [system.facts for system in systems]
  lines = []
  for value, place, (_, each), fact in zip(values, points, results.items(), facts, strict=True):
    seconds = [f["seconds"] / STEPS[what] for f in each]
    line = {
      "name": "growth",
      "what": what,
      "axis": axis,
      "value": value,
      "point": place,
      "seconds": rounded(statistics.median(seconds)),
      "seconds_range": [rounded(min(seconds)), rounded(max(seconds))],
      "expected_flops": operations(what, place),
      "peak_mb": each[-1]["peak_mb"],
      "processor_seconds": rounded(statistics.median(f["processor_seconds"] for f in each)),
      "other_cores": max((f["other_cores"] or 0.0 for f in each), default=0.0),
      "load": rounded(os.getloadavg()[0]),
    } | fact
    if what == "training":
      line["expected_mb"] = rounded(numbers_held(place) * 4 / 1e6)
    print(json.dumps(line), flush=True)
    lines.append(line)
  return lines


def shape_at(point: dict[str, Any]) -> flops.Shape:
  """Returns the sizes of the model at a point."""
  depth, width = point["depth"], point["width"]
  return flops.Shape(depth, depth, width, 2 * width, point["vocabulary"], max(width // 32, 1))


def operations(what: str, point: dict[str, Any]) -> float:
  """Returns the operations at a point, counted by `flops.py`."""
  lengths = np.full(point["batch"], point["length"])
  if what == "training":
    return flops.training(shape_at(point), lengths, lengths)
  return flops.decoding(shape_at(point), lengths, lengths, point["beam"])


def numbers_held(point: dict[str, Any]) -> float:
  """Returns the count of numbers, of 4 bytes each, that a training step must hold at a time.

  For each parameter: itself, its gradient and two moments. For each token in a layer, for the
  backward pass: 8 D (inputs and outputs of norms, q, k, v and the output of attention), 2 F, and
  2 N T attention weights (before and after dropout); a decoder layer also attends to the source,
  with 5 D and 2 N S. Logits of 256 tokens, and their gradient.
  """
  shape, length = shape_at(point), point["length"]
  d, weights = shape.features, 2 * shape.num_heads * length
  encoder = 8 * d + 2 * shape.feed_forward + weights
  decoder = encoder + 5 * d + weights
  tokens = point["batch"] * length
  kept = tokens * point["depth"] * (encoder + decoder)
  return 4 * shape.parameters + kept + 2 * min(tokens, 256) * shape.vocab_size


if __name__ == "__main__":
  rounds.report_errors(main)

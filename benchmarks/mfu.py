"""Measures the share of the peak that a training step reaches on full rows of random tokens.

    python benchmarks/mfu.py --model=big|decoder [--rows=64] [--dtype=bfloat16] [--rounds=5]
        [--steps=10] [--threads=2] [--peak=9.9e14] [--config.KEY=VALUE …]

`big` is Vaswani et al.'s big Transformer on rows of 256 + 256 tokens, `decoder` a decoder-only
model of about 350 M parameters at length 2,048. On GPUs the share is that of the peak of dense
bfloat16 products: `--peak` is the manufacturer's; without it, `matmul.py` measures one. FLOPs are 6
for each parameter and token, plus attention (of causal attention, the unmasked part); recomputation
to save memory does not count. Prints one JSON line.
"""

import argparse
import json

import comparison
import flops
import matmul
import numpy as np
import rounds
import summary

MODELS = {
  "big": {"depth": 6, "width": 1024, "heads": 16, "feed_forward": 4096, "vocabulary": 32_000,
          "length": 256},
  "decoder": {"depth": 24, "width": 1024, "heads": 16, "feed_forward": 4096, "vocabulary": 50_304,
              "length": 2048, "decoder_only": True},
}  # fmt: skip


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--model", choices=list(MODELS), required=True)
  parser.add_argument("--rows", type=int, default=16)
  parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
  parser.add_argument("--steps", type=int, default=10, help="steps per round")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--threads", type=int, default=0, help="0: all processors")
  parser.add_argument("--peak", type=float, default=0.0, help="FLOP/s; 0: measured first")
  options, overrides = parser.parse_known_args()
  point = MODELS[options.model] | {"batch": options.rows, "dtype": options.dtype}
  point["overrides"] = dict(
    word.removeprefix("--config.").partition("=")[::2] for word in overrides
  )
  peak = options.peak or matmul.peak(options.threads, options.dtype)
  child = {
    "name": comparison.DEFAULT,
    "target": "systems.growing:train",
    "arguments": {"point": point, "steps": options.steps},
    "threads": options.threads,
  }
  with rounds.children([child]) as systems:
    results = rounds.interleave(systems, options.rounds)[comparison.DEFAULT]
    facts = systems[0].facts
  tokens = options.rows * point["length"] * options.steps
  each = [f | {"target_tokens": tokens} for f in results]
  line = {"name": "mfu", "model": options.model, "rows": options.rows, "dtype": options.dtype}
  line |= summary.line(each, "target_tokens", [operations(point) * options.steps] * len(each), peak)
  line |= {"overrides": point["overrides"], "peak": peak, "peak_mb": each[-1]["peak_mb"]}
  print(json.dumps(line | facts), flush=True)


def operations(point: dict) -> float:
  """Returns the operations of one step."""
  alone = point.get("decoder_only", False)
  shape = flops.Shape(
    encoder_layers=0 if alone else point["depth"],
    decoder_layers=point["depth"],
    features=point["width"],
    feed_forward=point["feed_forward"],
    vocab_size=point["vocabulary"],
    num_heads=point["heads"],
  )
  lengths = np.full(point["batch"], point["length"])
  return flops.training(shape, 0 * lengths if alone else lengths, lengths)


if __name__ == "__main__":
  rounds.report_errors(main)

"""Times training steps on Multi30k of tfx_jax and other libraries, which take turns.

    python benchmarks/train_step.py --size=tiny --peer=torch --peer=marian --peer=marian+malloc
        [--peer=flax] [--threads=2] [--rounds=5] [--batches=6] [--rows=64] [--dtype=float32]
        [--no_allocator] [--peak=1.6e11] [--config.KEY=VALUE …]

Every system is a separate process that does a round of steps on request. All read the same
sentences in the same tokenization: tfx_jax and flax's example packed, the others sorted by length
and padded. All apply dropout at the same places. Prints a JSON line per system, then one of ratios.
`+malloc` makes the C library of a peer keep its large buffers, as `tfx_jax/runtime/allocator.py`
does for tfx_jax.
"""

import statistics
import tempfile
from typing import Any

import comparison
import flops
import rounds
import summary
from sentences import check_equal_work, write_batches
from sizes import DROPOUT, SIZES, make_config, shape_of
from systems import flax_example

PEERS = {"torch": "torch", "marian": "transformers", "flax": flax_example.FOLDER}


def main() -> None:
  parser = comparison.make_parser(__doc__, PEERS)
  parser.add_argument("--batches", type=int, default=6, help="updates per round")
  parser.add_argument("--rows", type=int, default=64, help="packed rows of our batch")
  options, overrides = comparison.parse(parser)
  config = make_config(options.size, options.dtype, overrides)
  config.data.batch_size = options.rows
  with tempfile.TemporaryDirectory() as folder:
    # The first round is only a warm-up.
    updates = (options.rounds + 1) * options.batches
    lengths, vocab_size = write_batches(folder, config, updates, options.batches)
    shared = {"folder": folder, "per_round": options.batches}
    theirs = shared | {
      "size": SIZES[options.size],
      "vocab_size": vocab_size,
      "dropout": DROPOUT,
    }
    specifications = [comparison.ours(options, "systems.ours:train", shared)] + [
      comparison.peer(name, options, *_peer(comparison.plain(name), theirs))
      for name in options.peer
    ]
    figures, facts, peak = comparison.run(specifications, options)

  tokens = {name: [f["update_tokens"] for f in each] for name, each in figures.items()}
  difference = check_equal_work(tokens)
  shape = shape_of(config, vocab_size)
  operations = [
    flops.training(shape, lengths.sources[number], lengths.targets[number])
    for number in range(updates)
  ]
  by_round = [
    sum(operations[number : number + options.batches])
    for number in range(options.batches, updates, options.batches)
  ]
  common = {"name": "train_step", "size": options.size, "dtype": options.dtype}
  common |= {"threads": options.threads, "batches": options.batches}
  lines = []
  for name, each in figures.items():
    each_update = [count for of_round in tokens[name] for count in of_round]
    line = common | {"system": name} | summary.line(each, "target_tokens", by_round, peak)
    real, places = (sum(f[key] for f in each) for key in ("target_tokens", "target_places"))
    line |= {
      "step_seconds": summary.rounded(line["round_seconds"] / options.batches),
      "target_tokens_per_update": round(statistics.mean(each_update), 1),
      "target_tokens_per_update_range": [min(each_update), max(each_update)],
      "real_share_of_targets": summary.rounded(real / places, 3),
      "loss": summary.rounded(each[-1]["loss"]),
      "peak": peak,
    }
    lines.append(line | facts[name])
  ratios = summary.ratios(figures, "target_tokens")
  comparison.show(
    lines, common | {"ratios": ratios, "tokens_differ_by": summary.rounded(difference)}
  )


def _peer(name: str, shared: dict[str, Any]) -> tuple[str, dict[str, Any]]:
  """Returns the function that makes a peer, and its arguments."""
  if name == "flax":
    return "systems.flax_training:make", shared
  return "systems.torch_training:make", shared | {"model": name}


if __name__ == "__main__":
  rounds.report_errors(main)

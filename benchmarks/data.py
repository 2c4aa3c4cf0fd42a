"""Measures how long a training run waits for its input.

    python benchmarks/data.py [--config=experiments/multi30k.py] [--threads=2] [--rounds=5]
        [--steps=100] [--config.KEY=VALUE …]

Prints a JSON line: the share of time, from the second step on, that the loop waited for the next
batch, and the share of processor seconds spent on making batches; `watched.py` defines both. The
cost of tokenizing and packing is measured by `corpus.py`.
"""

import argparse
import statistics
import tempfile

import rounds
from processes import Process, environment, last_line, pin, prepare, show, spread, watched
from sizes import EXPERIMENT
from summary import rounded

SHARES = ("waiting_share", "loader_share")


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--config", default=EXPERIMENT)
  parser.add_argument("--threads", type=int, default=0, help="0: all processors")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--steps", type=int, default=100)
  options, overrides = parser.parse_known_args()
  pin(options.threads)
  with tempfile.TemporaryDirectory() as folder:
    # Nothing but steps: other work between them is not waiting for input.
    quiet = [
      f"--config.train.{key}=0" for key in ("eval_every", "decode_every", "checkpoint_every")
    ]
    arguments = [f"--config={options.config}", f"--workdir={folder}", *quiet, *overrides]
    prepare(arguments, environment())
    loop = Process("loop", watched(options.steps, arguments), environment())
    runs = [last_line(loop.run(number)) for number in range(options.rounds)]
  results = {"name": "input", "config": options.config, "overrides": overrides}
  results |= {"steps": options.steps} | spread([run["step_seconds"] for run in runs])
  for share in SHARES:
    shares = [run[share] for run in runs]
    results |= {share: statistics.median(shares), f"{share}_range": [min(shares), max(shares)]}
  rates = [run["target_tokens_per_second"] for run in runs]
  show(results | {"target_tokens_per_second": rounded(statistics.median(rates))})


if __name__ == "__main__":
  rounds.report_errors(main)

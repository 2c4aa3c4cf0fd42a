"""Times everything that a person waits for, beside `python -c "import jax; jax.devices()"`.

    python benchmarks/startup.py [--threads=2] [--rounds=5] [--part=imports] [--part=first_step] …
        [--config=experiments/multi30k.py] [--config.KEY=VALUE …]
    python benchmarks/startup.py --workdir=runs/multi30k [--peer=ctranslate2_parallel]
        [--peer=ctranslate2] [--peer=huggingface] [--lines=1000] [--beam=5] …

Parts, by default all:

- imports: each in a new process; starting Python alone is one of them;
- first_step: a training run from the start of its process to its first step; data is tokenized
  before;
- shell: whole processes of `--mode=generate` with one sentence and with the test set of a run, and
  of the peers with the same weights, exported and converted before;
- python: a new process that opens the run and calls it with one sentence, with another one, and
  twice with the test set.

The last two need `--workdir`. With a cold cache there are no compiled programs on disk, and the run
is as training left it; with a warm one there is everything that the process before left there.
Processes take turns, the one of JAX alone too; `ratio_to_jax_devices` is that of the medians.
Prints a JSON line for each figure, with the number of programs that XLA compiled.
"""

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Sequence

import comparison
import first_outputs
import processes
import rounds
from decode import PEERS
from processes import Process, alone, environment, last_line, line, programs, seconds, show
from sizes import EXPERIMENT
from summary import rounded

IMPORTS = {
  "python": "pass",
  "jax": "import jax",
  "tfx_jax": "import tfx_jax",
  "tfx_jax.main": "import tfx_jax.main",
  "tfx_jax.load": "from tfx_jax import load",
}
PARTS = ("imports", "first_step", "shell", "python")
TRANSLATING = [name for name in PEERS if name != "flax"]
STEPS = 4


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--config", default=EXPERIMENT)
  parser.add_argument("--threads", type=int, default=0, help="0: all processors")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--part", action="append", default=[], choices=PARTS)
  parser.add_argument("--workdir", default="", help="workdir of a trained run")
  parser.add_argument("--peer", action="append", default=[], choices=TRANSLATING)
  parser.add_argument("--lines", type=int, default=1000, help="lines of the test set")
  parser.add_argument("--beam", type=int, help="1: greedy; by default the run's own")
  options, overrides = parser.parse_known_args()
  parts = options.part or (PARTS if options.workdir else PARTS[:2])
  for part in parts:
    if part in PARTS[2:] and not options.workdir:
      parser.error(f"--part={part} needs --workdir: a trained run")
  comparison.check_peers(parser, options.peer, PEERS)
  processes.pin(options.threads)
  if "imports" in parts:
    imports(options.rounds)
  if "first_step" in parts:
    arguments = [f"--config={options.config}", *overrides]
    with tempfile.TemporaryDirectory() as folder:
      first_step(folder, options.rounds, arguments)
  if {"shell", "python"} & set(parts):
    with tempfile.TemporaryDirectory() as folder:
      timed = first_outputs.make(folder, options.workdir, options.lines, options.beam, options.peer)
      if "shell" in parts:
        first_outputs.from_shell(timed, options.rounds)
      if "python" in parts:
        first_outputs.from_python(timed, options.rounds)


def imports(count: int) -> None:
  """Prints the time of each import, and the ratios to `import jax`."""
  commands = [Process(name, ["-c", code], environment()) for name, code in IMPORTS.items()]
  # The discarded round reads files into memory.
  taken = rounds.interleave([*commands, alone()], count)
  for name, each in taken.items():
    line("import", {"system": name}, seconds(each), taken)
  medians = {name: statistics.median(seconds(each)) for name, each in taken.items()}
  ratios = {name: rounded(median / medians["jax"]) for name, median in medians.items()}
  show({"name": "import", "ratios_to_jax": ratios})


def first_step(folder: str, count: int, arguments: Sequence[str]) -> None:
  """Prints the time from the start of a training run to its first step."""
  cache = os.path.join(folder, "cache")
  arguments = [*arguments, f"--workdir={folder}/run"]
  own = environment(cache=cache)
  processes.prepare(arguments, own)

  def clear() -> None:
    shutil.rmtree(os.path.join(cache, "xla"), ignore_errors=True)

  command = processes.watched(STEPS, arguments)
  commands = [alone(), Process("cold", command, own, clear), Process("warm", command, own)]
  taken = rounds.interleave(commands, count, warm_up=False)
  for state in ("cold", "warm"):
    found = [last_line(each) for each in taken[state]]
    counts = [
      {key: figures[key] for key in ("compilations", "compilations_later")}
      | programs(each["stderr"])
      for figures, each in zip(found, taken[state], strict=True)
    ]
    facts = {"system": comparison.DEFAULT, "compilation_cache": state} | processes.most(counts)
    line("first_step", facts, [figures["first_step_seconds"] for figures in found], taken)


if __name__ == "__main__":
  rounds.report_errors(main)

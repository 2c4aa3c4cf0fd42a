"""Times imports, and a training run from the start of its process to its first step.

    python benchmarks/startup.py [--config=experiments/multi30k.py] [--threads=2] [--rounds=5]
        [--config.KEY=VALUE …]

Each import is timed in a new process, in turns; starting Python alone is one of them. The run's
data is tokenized before. Its first step is timed without compiled programs on disk, and with those
of the previous run. Prints a JSON line for each, and one of ratios to `import jax`.
"""

import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import rounds
from sizes import EXPERIMENT
from summary import rounded

from tfx_jax.runtime.allocator import KEPT_BUFFERS

HERE = os.path.dirname(os.path.abspath(__file__))
IMPORTS = {
  "python": "pass",
  "jax": "import jax",
  "tfx_jax": "import tfx_jax",
  "tfx_jax.main": "import tfx_jax.main",
  "tfx_jax.load": "from tfx_jax import load",
}
STEPS = 4


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--config", default=EXPERIMENT)
  parser.add_argument("--threads", type=int, default=0, help="0: all processors")
  parser.add_argument("--rounds", type=int, default=5)
  options, overrides = parser.parse_known_args()
  pin(options.threads)
  imports = {name: [] for name in IMPORTS}
  for number in range(options.rounds + 1):
    for name, statement in IMPORTS.items():
      begin = time.perf_counter()
      subprocess.run([sys.executable, "-c", statement], check=True, env=environment())
      if number:  # the first round reads files into memory
        imports[name].append(time.perf_counter() - begin)
  for name, seconds in imports.items():
    show({"name": "import", "system": name} | spread(seconds))
  of_jax = statistics.median(imports["jax"])
  medians = {name: rounded(statistics.median(times) / of_jax) for name, times in imports.items()}
  show({"name": "import", "ratios_to_jax": medians})

  with tempfile.TemporaryDirectory() as folder:
    arguments = [f"--config={options.config}", f"--workdir={folder}/run", *overrides]
    # A separate cache, so that it only has programs of this run.
    own = environment() | {"TFX_JAX_CACHE": f"{folder}/cache"}
    own.pop("JAX_COMPILATION_CACHE_DIR", None)
    prepare(arguments, own)
    timings: dict[str, list] = {"cold": [], "warm": []}
    for _ in range(options.rounds):
      shutil.rmtree(f"{folder}/cache/xla", ignore_errors=True)
      for runs in timings.values():
        kept = {"programs_on_disk": count(f"{folder}/cache/xla")}
        runs.append(watch(STEPS, arguments, own) | kept)
  for cache, runs in timings.items():
    seconds = [run["first_step_seconds"] for run in runs]
    programs = {
      key: max(run[key] for run in runs)
      for key in ("compilations", "compilations_later", "programs_on_disk")
    }
    show({"name": "first_step", "compilation_cache": cache} | spread(seconds) | programs)


def prepare(arguments: list[str], environment: dict[str, str]) -> None:
  """Makes the tokenizer and the corpus of a run."""
  command = [sys.executable, "-m", "tfx_jax.main", "--mode=prepare", *arguments]
  done = subprocess.run(command, capture_output=True, text=True, env=environment)
  if done.returncode:
    sys.exit(done.stderr[-3000:].strip())


def watch(steps: int, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
  """Returns the results of `watched.py`."""
  command = [sys.executable, os.path.join(HERE, "watched.py"), str(steps), *arguments]
  done = subprocess.run(command, capture_output=True, text=True, env=environment)
  if done.returncode:
    sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
  return json.loads(done.stdout.splitlines()[-1])


def count(folder: str) -> int:
  """Returns the number of compiled programs in a folder."""
  return len(glob.glob(f"{folder}/*-cache"))


def environment() -> dict[str, str]:
  """Returns the environment of child processes: allocator settings as for `tfx_jax/main.py`."""
  return rounds.child_environment(0, KEPT_BUFFERS)


def pin(threads: int) -> None:
  """Limits this process and its children to a number of processors; 0: all."""
  if threads and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, rounds.processors()[:threads])


def spread(seconds: list[float]) -> dict[str, Any]:
  """Returns median, minimum and maximum."""
  return {
    "seconds": rounded(statistics.median(seconds)),
    "seconds_range": [rounded(min(seconds)), rounded(max(seconds))],
    "rounds": len(seconds),
    "threads": len(rounds.processors()),
  }


def show(results: dict[str, Any]) -> None:
  print(json.dumps(results | {"load": rounded(os.getloadavg()[0])}), flush=True)


if __name__ == "__main__":
  rounds.report_errors(main)

"""Kills a training run again and again, and compares what comes out with an uninterrupted run.

    python benchmarks/kill_and_resume.py --kills=10

Trains a small model on the built-in corpus twice: once undisturbed, once killed by SIGKILL at
random moments, at least a third of them while a checkpoint is being written, and started again by
the same command. Prints one JSON line: how many kills fell inside a save, whether all parameters,
optimizer states and metrics (times left out) are equal bit for bit. Exits with 1 if they are not.
"""

import argparse
import glob
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import orbax.checkpoint as ocp

TIMES = ("tokens_per_second",)
STEPS = 180
EXPERIMENT = os.path.join(os.path.dirname(__file__), "..", "experiments", "quickstart.py")
SETTINGS = {
  "model.features": 64,
  "model.encoder_layers": 1,
  "model.decoder_layers": 1,
  "data.batch_size": 8,
  "train.num_steps": STEPS,
  "train.log_every": 7,
  "train.checkpoint_every": 3,
  "train.eval_every": 40,
  "train.decode_every": 80,
  "train.decode_examples": 32,
}


def command(workdir: str) -> list[str]:
  overrides = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
  program = [sys.executable, "-m", "tfx_jax.main"]
  return [*program, f"--config={EXPERIMENT}", f"--workdir={workdir}", *overrides]


def saving(workdir: str) -> bool:
  return bool(glob.glob(os.path.join(workdir, "checkpoints", "*tmp*")))


def run_killed(workdir: str, kills: int, seed: int) -> tuple[int, int]:
  """Starts the run until it ends, killing it; returns the kills done and those inside a save."""
  rng, done, inside = random.Random(seed), 0, 0
  while True:
    with open(workdir + ".log", "a") as log:
      process = subprocess.Popen(command(workdir), stderr=log, stdout=log)
    wanted_inside = inside * 3 <= done
    first = _newest(workdir)
    # The run must get somewhere, or it would never end.
    while process.poll() is None and _newest(workdir) <= first:
      time.sleep(0.005)
    deadline = time.monotonic() + rng.uniform(0.0, 3.0)
    while process.poll() is None and done < kills:
      in_save = saving(workdir)
      if in_save if wanted_inside else time.monotonic() > deadline:
        process.send_signal(signal.SIGKILL)
        done, inside = done + 1, inside + in_save
        break
      time.sleep(0.0005)
    if process.wait() == 0:
      return done, inside
    if process.returncode != -signal.SIGKILL:
      raise SystemExit(f"the run ended with {process.returncode}: see {workdir}.log")


def _newest(workdir: str) -> int:
  names = [os.path.basename(path) for path in glob.glob(os.path.join(workdir, "checkpoints", "*"))]
  return max((int(name) for name in names if name.isdigit()), default=-1)


def arrays(workdir: str) -> list[np.ndarray]:
  with ocp.CheckpointManager(os.path.join(os.path.abspath(workdir), "checkpoints")) as manager:
    restored = manager.restore(
      STEPS,
      args=ocp.args.Composite(state=ocp.args.PyTreeRestore(), progress=ocp.args.JsonRestore()),
    )
  return [np.asarray(x) for x in jax.tree.leaves(restored["state"])]


def metrics(workdir: str) -> list[dict]:
  with open(os.path.join(workdir, "metrics.jsonl")) as file:
    lines = [json.loads(line) for line in file]
  return [{key: line[key] for key in line if key not in TIMES} for line in lines]


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=10)
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    whole, killed = (os.path.join(folder, name) for name in ("whole", "killed"))
    subprocess.run(command(whole), check=True, capture_output=True)
    done, inside = run_killed(killed, options.kills, options.seed)
    a, b = arrays(whole), arrays(killed)
    same_arrays = len(a) == len(b) and all(
      x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)
    )
    same_metrics = metrics(whole) == metrics(killed)
    result = {
      "name": "kill_and_resume",
      "kills": done,
      "inside_a_save": inside,
      "steps": STEPS,
      "arrays": len(a),
      "arrays_equal": same_arrays,
      "metrics_lines": len(metrics(whole)),
      "metrics_equal": same_metrics,
    }
  print(json.dumps(result))
  return 0 if same_arrays and same_metrics else 1


if __name__ == "__main__":
  sys.exit(main())

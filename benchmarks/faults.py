"""Kills a training run repeatedly, damages its checkpoints, and compares the results.

    python benchmarks/faults.py --kills=50
    python benchmarks/faults.py --kills=0 --corrupt

Trains a small model on the built-in corpus twice: once undisturbed, and once killed by SIGKILL at
random moments (at least a quarter of them while a checkpoint is being written) and restarted with
the same command. With --corrupt, each file of the run's newest checkpoint in turn is truncated, has
a bit flipped, and is deleted, and the checkpoint is opened as training does. Prints one JSON line
for each. Exits with 1 if the run ended before that many kills; if parameters, optimizer state or
metrics (except times) are not equal bit for bit; if a kill has cost more than the steps since the
last save; or if damage is not detected.
"""

import argparse
import contextlib
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import rounds
from absl import logging

from tfx_jax import builders
from tfx_jax.config import files as config_files
from tfx_jax.errors import UserError
from tfx_jax.models.parameters import EXAMPLE
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from tfx_jax.training.checkpoints.selection import restore_params
from tfx_jax.training.state import plan_params, plan_state

TIMES = ("tokens_per_second",)
# Enough that the run does not end before it has been killed as often as requested: on a fast
# machine there are about 20 steps between two kills.
STEPS_PER_KILL = 40
SAVE_EVERY = 3
EXPERIMENT = os.path.join(os.path.dirname(__file__), "..", "experiments", "quickstart.py")
SETTINGS = {
  "model.features": 64,
  "model.encoder_layers": 1,
  "model.decoder_layers": 1,
  "data.batch_size": 8,
  "train.log_every": 7,
  "train.checkpoint_every": SAVE_EVERY,
  "train.eval_every": 60,
  "train.decode_every": 120,
  "train.decode_examples": 32,
}


def command(workdir: str, kills: int) -> list[str]:
  settings = SETTINGS | {"train.num_steps": STEPS_PER_KILL * (kills + 1)}
  overrides = [f"--config.{key}={value}" for key, value in settings.items()]
  program = [sys.executable, "-m", "tfx_jax.main"]
  return [*program, f"--config={EXPERIMENT}", f"--workdir={workdir}", *overrides]


def saving(workdir: str) -> bool:
  """Returns true while a checkpoint is being written: its arrays, or then its manifest."""
  folders = glob.glob(os.path.join(workdir, "checkpoints", "*"))
  return any(
    "tmp" in os.path.basename(folder) or not os.path.exists(os.path.join(folder, "manifest.json"))
    for folder in folders
  )


def steps(workdir: str) -> list[int]:
  """Returns the steps of the complete checkpoints."""
  paths = glob.glob(os.path.join(workdir, "checkpoints", "*", "manifest.json"))
  return sorted(int(os.path.basename(os.path.dirname(path))) for path in paths)


def newest(workdir: str) -> int:
  return max(steps(workdir), default=0)


def run_killed(workdir: str, kills: int, seed: int) -> dict:
  """Restarts and kills the run until it ends; counts kills, kills while saving, and their cost."""
  rng, done, inside, lost = random.Random(seed), 0, 0, 0
  began, expected = time.monotonic(), 0
  while True:
    with open(workdir + ".log", "w") as log:
      process = subprocess.Popen(command(workdir, kills), stderr=log, stdout=log)
    wanted_inside = inside * 4 <= done
    first = newest(workdir)
    # The run must make some progress to end at all, but need not always reach a save.
    moving = rng.random() < 0.7 or wanted_inside
    while process.poll() is None and moving and newest(workdir) <= first:
      time.sleep(0.005)
    deadline = time.monotonic() + rng.uniform(0.0, 1.0 if moving else 12.0)
    while process.poll() is None and done < kills:
      in_save = saving(workdir)
      if in_save if wanted_inside else time.monotonic() > deadline:
        saved = newest(workdir)
        process.send_signal(signal.SIGKILL)
        done, inside = done + 1, inside + in_save
        break
      time.sleep(0.0005)
    process.wait()
    lost += resumed_at(workdir) < expected
    if process.returncode == 0:
      return {
        "kills": done,
        "inside_a_save": inside,
        "lost": lost,
        "seconds": round(time.monotonic() - began, 1),
      }
    if process.returncode != -signal.SIGKILL:
      raise SystemExit(f"the run ended with {process.returncode}: see {workdir}.log")
    expected = saved


def resumed_at(workdir: str) -> float:
  """Returns the step that this session resumed at; infinity if it has not come so far."""
  with open(workdir + ".log") as log:
    match = re.search(r"resuming at step ([\d,]+)", log.read())
  return int(match[1].replace(",", "")) if match else float("inf")


class Reader:
  """Opens the checkpoints of a run as training does."""

  def __init__(self, workdir: str):
    config = config_files.read_config(workdir)
    self.parallel = builders.make_parallel(config)
    model = builders.make_model(config, builders.saved_codecs(config, workdir))
    optimizer, _ = builders.make_optimization(config)
    make_state, self.shardings = plan_state(model, optimizer, config.seed, EXAMPLE, self.parallel)
    self.abstract = jax.eval_shape(make_state.jitted)
    self.params = plan_params(model, EXAMPLE, self.parallel)

  def newest(self, workdir: str) -> tuple[int, list[np.ndarray]]:
    """Returns the step and the arrays of the newest undamaged checkpoint."""
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
      state, _ = checkpoints.restore_newest(self.abstract, self.shardings)
    return int(state.step), [np.asarray(x) for x in jax.tree.leaves(state)]

  def refuses(self, workdir: str, step: int) -> bool:
    """Returns true if a checkpoint requested by its step is reported as damaged."""
    try:
      restore_params(workdir, str(step), *self.params)
    except UserError as error:
      return f"checkpoint {step} of {workdir} is damaged" in str(error)
    return False


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
  return len(one) == len(other) and all(
    x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(one, other, strict=True)
  )


def metrics(workdir: str) -> list[dict]:
  with open(os.path.join(workdir, "metrics.jsonl")) as file:
    lines = [json.loads(line) for line in file]
  return [{key: line[key] for key in line if key not in TIMES} for line in lines]


def kill_and_resume(whole: str, folder: str, kills: int, seed: int) -> bool:
  killed = os.path.join(folder, "killed")
  counts = run_killed(killed, kills, seed)
  reader = Reader(whole)
  (step, a), (other, b) = reader.newest(whole), reader.newest(killed)
  result = {
    "name": "kills",
    **counts,
    "steps": step,
    "arrays": len(a),
    "arrays_equal": step == other and equal(a, b),
    "metrics_lines": len(metrics(whole)),
    "metrics_equal": metrics(whole) == metrics(killed),
  }
  print(json.dumps(result), flush=True)
  same = result["arrays_equal"] and result["metrics_equal"]
  return same and not result["lost"] and result["kills"] == kills


def truncate(path: str, rng: random.Random) -> None:
  os.truncate(path, rng.randrange(os.path.getsize(path)))


def flip(path: str, rng: random.Random) -> None:
  with open(path, "r+b") as file:
    content = bytearray(file.read())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.seek(0)
    file.write(content)


def delete(path: str, rng: random.Random) -> None:
  os.remove(path)


def corrupt(whole: str, folder: str, seed: int) -> bool:
  """Damages each file of the newest checkpoint in three ways, each time in a copy of the run."""
  rng, reader = random.Random(seed), Reader(whole)
  before, last = steps(whole)[-2:]
  copy = os.path.join(folder, "copy")
  shutil.copytree(whole, copy)
  shutil.rmtree(os.path.join(copy, "checkpoints", str(last)))
  _, expected = reader.newest(copy)
  source = os.path.join(whole, "checkpoints", str(last))
  names = [
    os.path.relpath(os.path.join(place, name), source)
    for place, _, files in os.walk(source)
    for name in files
  ]
  done = detected = fallback = refused = 0
  missed = []
  for name in sorted(names):
    for damage in (truncate, flip, delete):
      shutil.rmtree(copy)
      shutil.copytree(whole, copy)
      damage(os.path.join(copy, "checkpoints", str(last), name), rng)
      refused += reader.refuses(copy, last)
      step, arrays = reader.newest(copy)
      done += 1
      detected += step == before
      fallback += step == before and equal(arrays, expected)
      missed += [f"{damage.__name__} {name}"] * (step != before)
  result = {
    "name": "corruptions",
    "files": len(names),
    "damages": done,
    "detected": detected,
    "refused_by_name": refused,
    "fallback_equal": fallback,
    "missed": missed,
  }
  print(json.dumps(result), flush=True)
  return done == detected == fallback == refused


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=10)
  parser.add_argument("--corrupt", action="store_true")
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  logging.set_verbosity(logging.FATAL)  # a line is printed for each damage
  with tempfile.TemporaryDirectory() as folder:
    whole = os.path.join(folder, "whole")
    subprocess.run(command(whole, options.kills), check=True, capture_output=True)
    good = True
    if options.kills:
      good &= kill_and_resume(whole, folder, options.kills, options.seed)
    if options.corrupt:
      good &= corrupt(whole, folder, options.seed)
  return 0 if good else 1


if __name__ == "__main__":
  rounds.report_errors(main)

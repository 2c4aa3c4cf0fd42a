"""The second process that opens a run computes, compiles and imports little."""

import json
import os
import shutil
import subprocess
import sys

import pytest

PROGRAM = """
import collections, json, sys
import jax
import tfx_jax
from tfx_jax.config.files import read_config

events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name.split("/")[-1]]))
config = read_config(sys.argv[1])
config.train.keep_checkpoints = config.evaluate.average_last = 2
run = tfx_jax.load(sys.argv[1], checkpoint="average", config=config)
modules = {name.split(".")[0] for name in sys.modules}
texts = [best.text for (best,) in run.generate(["ab", "cde fa"])]
misses, hits = (events[f"cache_{name}"] for name in ("misses", "hits"))
print(json.dumps([texts, sorted(modules), misses, hits]))
"""


@pytest.fixture(scope="module")
def processes(trained, tmp_path_factory):
  """Results of two processes, one after the other, that share a workdir and a cache."""
  folder = tmp_path_factory.mktemp("loading")
  workdir = shutil.copytree(trained[1], folder / "run")
  environment = os.environ | {"TFX_JAX_CACHE": str(folder / "cache")}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)

  def run():
    command = [sys.executable, "-c", PROGRAM, str(workdir)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)

  return run(), run()


def test_the_second_process_compiles_nothing(processes):
  (first, _, compiled, _), (second, _, misses, hits) = processes
  assert first == second
  assert compiled > 2 and hits >= 2 and misses == 0  # of the weights' layout and of the search


def test_the_second_process_imports_only_what_it_needs(processes):
  (_, first, *_), (_, second, *_) = processes
  assert {"jax", "flax", "orbax", "tensorstore"} <= {*first}
  assert {"jax", "flax"} <= {*second}
  slow = {"orbax", "tensorstore", "matplotlib", "tensorboard"}
  assert not slow & {*second}

"""Shared set-up: eight devices on the host's CPU, quick compilation, strict broadcasting."""

import gc
import importlib.metadata
import os
import pathlib

flags = [
  os.environ.get("XLA_FLAGS", ""),
  "--xla_force_host_platform_device_count=8",
  "--xla_backend_optimization_level=0",
]
if importlib.metadata.version("jax").startswith("0.10."):  # later ones do not know it
  flags.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join(flags)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Threads of XLA's pool. By default there are as many as devices: two collectives that wait side by
# side can take them all, and neither ever gets its last participant.
os.environ.setdefault("NPROC", "32")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Linux gives a process 65,530 pieces of memory by default. Each compiled program takes a dozen or
# more; XLA crashes if there is none left.
MOST_PIECES = 30_000


@pytest.fixture(scope="module", autouse=True)
def bounded_programs():
  """Forgets compiled programs when there are many."""
  yield
  maps = pathlib.Path("/proc/self/maps")
  if maps.exists() and maps.read_bytes().count(b"\n") > MOST_PIECES:
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
  """The cache of all runs; the user's own is not touched."""
  folder = str(tmp_path_factory.mktemp("cache"))
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TFX_JAX_CACHE", folder)
    yield folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
  """A finished tiny run as (argument that names its experiment, workdir); not to be changed."""
  from support.tiny_run import write_experiment

  from tfx_jax.main import main

  folder = tmp_path_factory.mktemp("trained")
  experiment, workdir = write_experiment(folder), str(folder / "run")
  assert main([experiment, f"--workdir={workdir}"]) == 0
  return experiment, workdir

"""Measures the machine's peak: the fastest product of large square matrices.

    python benchmarks/matmul.py [--threads=2] [--dtype=float32] [--sizes=1024,2048,4096]

Prints a JSON line for each installed library, and one of the best, to which `share_of_peak` refers.
"""

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Callable, Sequence

import rounds

SIZES = (1024, 2048, 4096)
GPU_SIZES = (4096, 8192, 16384)
LIBRARIES = ("jax", "numpy", "torch")


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--threads", type=int, default=0)
  parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
  parser.add_argument("--sizes", default="", help="by default larger on a GPU")
  options = parser.parse_args()
  sizes = [int(size) for size in options.sizes.split(",") if size]
  best = peak(options.threads, options.dtype, sizes, lambda figures: print(json.dumps(figures)))
  print(json.dumps({"name": "matmul", "system": "best", "flops_per_second": best}))


def peak(
  threads: int = 0,
  dtype: str = "float32",
  sizes: Sequence[int] = (),
  show: Callable = lambda figures: None,
) -> float:
  """Returns the highest FLOP/s of all libraries and sizes, each measured in a separate process."""
  best = 0.0
  for library in LIBRARIES:
    if importlib.util.find_spec(library) is None or (library != "jax" and dtype != "float32"):
      continue
    arguments = {"library": library, "dtype": dtype, "threads": threads, "sizes": sizes}
    child = rounds.Child(f"matmul {library}", "matmul:make", arguments, threads, rounds.MALLOC)
    try:
      figures = rounds.interleave([child], 1)[child.name][0]
    finally:
      child.close()
    show({"name": "matmul", "system": library, "dtype": dtype, **child.facts, **figures})
    best = max(best, figures["flops_per_second"])
    if child.facts.get("platform", "cpu") != "cpu":
      break  # the others only use the CPU
  return best


def make(library: str, dtype: str, threads: int, sizes: Sequence[int]) -> tuple[Callable, dict]:
  """Makes rounds of five products of each size; a round's result is the fastest."""
  prepare, facts = {"jax": _jax, "numpy": _numpy, "torch": _torch}[library](dtype, threads)
  products = {
    size: prepare(size) for size in sizes or (SIZES if facts["platform"] == "cpu" else GPU_SIZES)
  }

  def run(number: int) -> dict[str, float]:
    fastest = 0.0
    for size, product in products.items():
      for _ in range(5):
        begin = time.perf_counter()
        product()
        fastest = max(fastest, 2 * size**3 / (time.perf_counter() - begin))
    return {"flops_per_second": fastest, "load": round(os.getloadavg()[0], 2)}

  return run, facts


def _jax(dtype: str, threads: int) -> tuple[Callable, dict]:
  import jax
  import jax.numpy as jnp

  product = jax.jit(jnp.matmul)

  def prepare(size: int) -> Callable:
    x, y = (jax.random.normal(jax.random.key(i), (size, size), dtype) for i in range(2))
    return lambda: product(x, y).block_until_ready()

  return prepare, {"platform": jax.default_backend(), "device": jax.devices()[0].device_kind}


def _numpy(dtype: str, threads: int) -> tuple[Callable, dict]:
  import numpy as np

  def prepare(size: int) -> Callable:
    x, y = np.random.default_rng(0).standard_normal((2, size, size), np.float32)
    out = np.empty_like(x)
    return lambda: np.matmul(x, y, out=out)

  return prepare, {"platform": "cpu"}


def _torch(dtype: str, threads: int) -> tuple[Callable, dict]:
  import torch

  torch.set_num_threads(threads or len(rounds.processors()))

  def prepare(size: int) -> Callable:
    x, y = torch.randn(2, size, size)
    out = torch.empty_like(x)
    return lambda: torch.mm(x, y, out=out)

  return prepare, {"platform": "cpu"}


if __name__ == "__main__":
  rounds.report_errors(main)

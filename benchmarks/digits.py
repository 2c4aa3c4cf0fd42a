"""Judges digits that a run of `experiments/mnist.py:digits` draws, with several scales of guidance.

  python benchmarks/digits.py --data=data/mnist --workdir=runs/mnist-digits [--count=10000]

The judge is a convolutional network that is trained here on MNIST, black and white as the run's
pictures are; its accuracy on the real test is printed first. For each scale: its accuracy on drawn
digits, as many of each class; and the Fréchet distance of its features (Dowson and Landau 1982, the
formula of FID with other features) to those of the training data, with that of the real test as the
floor: a drawn digit that all digits of its class resemble is accurate, but the distance grows.
"""

import argparse
import json
import os
import time

import jax
import numpy as np
import optax
from flax import linen as nn

import tfx_jax
from tfx_jax.sources.idx import IdxSource

SEED, EPOCHS, BATCH = 0, 5, 128


class Judge(nn.Module):
  """Two convolutions and two linear layers: [B,28,28,1] -> features [B,128], logits [B,10]."""

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns features and logits."""
    for features in (32, 64):
      x = nn.relu(nn.Conv(features, (3, 3))(x))
      x = nn.max_pool(x, (2, 2), (2, 2))  # [B,H,W,C] -> [B,H/2,W/2,C]
    x = nn.relu(nn.Dense(128)(x.reshape(len(x), -1)))  # [B,7,7,64] -> [B,128]
    return x, nn.Dense(10)(x)


def load(folder: str, prefix: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns black and white pictures, float32 [N,28,28,1] in 0..1, and labels [N]."""
  records = list(IdxSource(os.path.join(folder, prefix), ("binary", "label")))
  pictures = np.array([record["binary"] for record in records], np.float32) / 255
  return pictures, np.array([int(record["label"]) for record in records])


def train(pictures: np.ndarray, labels: np.ndarray):
  """Returns a function from pictures to the judge's features and classes."""
  judge = Judge()
  params = judge.init(jax.random.key(SEED), pictures[:1])
  steps = EPOCHS * (len(pictures) // BATCH)
  optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, steps))

  @jax.jit
  def step(params, state, x, y):
    def loss(params):
      _, logits = judge.apply(params, x)
      return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state

  state, rng = optimizer.init(params), np.random.default_rng(SEED)
  for _ in range(EPOCHS):
    order = rng.permutation(len(pictures))
    for start in range(0, len(order) - BATCH + 1, BATCH):
      rows = order[start : start + BATCH]
      params, state = step(params, state, pictures[rows], labels[rows])
  apply = jax.jit(lambda x: judge.apply(params, x))

  def look(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    parts = [apply(pictures[start : start + 1000]) for start in range(0, len(pictures), 1000)]
    features, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return features.astype(np.float64), logits.argmax(axis=1)

  return look


def frechet(a: np.ndarray, b: np.ndarray) -> float:
  """Returns the Fréchet distance of two Gaussians fitted to features [N,D]."""
  (mean_a, mean_b), (cov_a, cov_b) = ([f(x) for x in (a, b)] for f in (_mean, _cov))
  # The trace of the root of a product is the sum of the roots of its eigenvalues.
  roots = np.sqrt(np.clip(np.linalg.eigvals(cov_a @ cov_b).real, 0, None)).sum()
  return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * roots)


def _mean(x: np.ndarray) -> np.ndarray:
  return x.mean(axis=0)


def _cov(x: np.ndarray) -> np.ndarray:
  return np.cov(x, rowvar=False)


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--data", default="data/mnist")
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--count", type=int, default=10_000)
  parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 3.0])
  arguments = parser.parse_args()
  pictures, labels = load(arguments.data, "train")
  look = train(pictures, labels)
  real, _ = look(pictures)
  test, truth = load(arguments.data, "t10k")
  features, classes = look(test)
  accuracy = 100 * float((classes == truth).mean())
  figures = {"real_test": round(accuracy, 2), "frechet": round(frechet(features, real), 3)}
  print(json.dumps(figures), flush=True)
  run = tfx_jax.load(arguments.workdir)
  wanted = np.arange(arguments.count) % 10
  for scale in arguments.guidance:
    start = time.perf_counter()
    outputs = run.generate(list(map(str, wanted)), guidance=scale)
    seconds = time.perf_counter() - start
    drawn = np.array([best.value for (best, *_) in outputs], np.float32) / 255
    features, classes = look(drawn)
    figures = {
      "guidance": scale,
      "accuracy": round(100 * float((classes == wanted).mean()), 2),
      "frechet": round(frechet(features, real), 3),
      "pictures_per_second": round(arguments.count / seconds, 1),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
  main()

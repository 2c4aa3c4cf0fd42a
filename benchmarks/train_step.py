"""Times the training step of an experiment on its own data, after warm-up.

    python benchmarks/train_step.py --config=experiments/multi30k.py [--config.KEY=VALUE …]

Prints one JSON line: the median time of a step with its spread, the processor time of a step (which
a busy machine changes less), and real (non-padding) target tokens a second, the median over
batches.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time

import jax
import numpy as np

from tfx_jax import build, config_io
from tfx_jax.data.loader import Position
from tfx_jax.run import EXAMPLE, count_parameters
from tfx_jax.training.state import plan_state
from tfx_jax.validation import validate

# Places of a batch that hold tokens have a segment.
SEGMENTS = ("inputs_segments", "targets_segments")


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--config", required=True)
  parser.add_argument("--batches", type=int, default=30)
  parser.add_argument("--warm_up", type=int, default=3)
  options, overrides = parser.parse_known_args()
  config = config_io.read_experiment(options.config)
  for word in overrides:
    key, _, text = word.removeprefix("--config.").partition("=")
    config_io.override(config, key, text)
  validate(config)

  with tempfile.TemporaryDirectory() as workdir:
    tokenizers = build.make_tokenizers(config, workdir)
    parallel = build.make_parallel(config)
    loader = build.make_loader(config, build.make_corpora(config, "train", tokenizers), parallel)
  model = build.make_model(config, tokenizers)
  optimizer, schedule = build.make_optimization(config)
  ema = config.train.ema_decay > 0
  make_state, _ = plan_state(model, optimizer, config.seed, EXAMPLE, parallel, ema)
  state = make_state()
  step = parallel.jit(
    build.make_step(config, model, optimizer, schedule, parallel), donate_argnums=0
  )

  position, seconds, rates, real = Position(), [], [], []
  began = time.perf_counter()
  for number in range(options.warm_up + options.batches):
    batch, position = loader.batch(position)
    placed = parallel.place(batch)
    start = time.perf_counter()
    state, figures = step(state, placed)
    jax.block_until_ready((state, figures))
    if number == options.warm_up - 1:
      processor = time.process_time()
    if number == 0:
      first = time.perf_counter() - began
    if number >= options.warm_up:
      seconds.append(time.perf_counter() - start)
      rates.append(float(batch["weights"].sum()) / seconds[-1])
      real.append({name: (batch[name] > 0).mean() for name in SEGMENTS if name in batch})
  print(
    json.dumps(
      {
        "name": "train_step",
        "config": options.config,
        "overrides": overrides,
        "parameters": count_parameters(state.params),
        "step_ms": round(1e3 * statistics.median(seconds), 1),
        "step_ms_range": [round(1e3 * min(seconds), 1), round(1e3 * max(seconds), 1)],
        "processor_ms": round(1e3 * (time.process_time() - processor) / len(seconds), 1),
        "target_tokens_per_second": round(statistics.median(rates)),
        "real": {name: round(float(np.mean([r[name] for r in real])), 3) for name in real[0]},
        "first_step_s": round(first, 1),
        "load": round(os.getloadavg()[0], 2),
      }
    )
  )


if __name__ == "__main__":
  sys.exit(main())

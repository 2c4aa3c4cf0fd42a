r"""Measures pictures per second of finished runs that draw: trained, and drawn.

  python benchmarks/pictures.py --workdir=runs/scenes-draw --workdir=runs/scenes-draw-masked \
      [--count=256] [--rounds=3] [--threads=2] [--config.generate.steps=8]

Runs take turns. A line for each has `trained_per_second`, of steps on the run's own rows;
`share_of_peak`, the FLOPs of a step by XLA's count over the time and the peak of `matmul.py`;
`drawn_per_second`, of the first inputs of the test in the run's own batches; and the metrics of
these drawings. Settings behind `--config` change all runs that take them.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence

import matmul
import numpy as np
import rounds


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", action="append", required=True)
  parser.add_argument("--count", type=int, default=256, help="pictures to draw in a round")
  parser.add_argument("--steps", type=int, default=5, help="training steps in a round")
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--threads", type=int, default=0, help="0: all processors")
  options, overrides = parser.parse_known_args()
  peak = matmul.peak(options.threads)
  children = [
    {
      "name": os.path.basename(os.path.normpath(workdir)),
      "target": "pictures:make",
      "arguments": {
        "workdir": os.path.abspath(workdir),
        "count": options.count,
        "steps": options.steps,
        "overrides": overrides,
      },
      "threads": options.threads,
    }
    for workdir in options.workdir
  ]
  with rounds.children(children) as systems:
    results = rounds.interleave(systems, options.rounds)
    for system in systems:
      found = results[system.name]
      line = {"name": "pictures", "run": system.name, **system.facts}
      for key in ("trained_per_second", "drawn_per_second"):
        values = sorted(figures[key] for figures in found)
        line[key] = round(float(np.median(values)), 3)
        line[f"{key}_range"] = [round(values[0], 3), round(values[-1], 3)]
      flops = line["trained_per_second"] * line["flops_per_picture"]
      line["share_of_peak"] = round(flops / peak, 3)
      print(json.dumps(line), flush=True)


def make(
  workdir: str, count: int, steps: int, overrides: Sequence[str]
) -> tuple[Callable[[int], dict], dict]:
  """Makes rounds of training steps and of drawings with a run."""
  import jax

  import tfx_jax
  from tfx_jax import builders
  from tfx_jax.config import files
  from tfx_jax.config.override import override
  from tfx_jax.evaluation.evaluate import output_metrics
  from tfx_jax.training.state import plan_state

  config = files.read_config(workdir)
  assert config is not None, f"{workdir} holds no run"
  for word in overrides:
    key, _, value = word.removeprefix("--config.").partition("=")
    override(config, key, value)
  run = tfx_jax.load(workdir, config=config)
  optimizer, schedule = builders.make_optimization(config)
  make_state, shardings = plan_state(
    run.model, optimizer, config.seed, builders.example_of(run.codecs), run.parallel
  )
  step = run.parallel.jit(
    builders.make_step(config, run.model, optimizer, schedule, run.parallel, run.codecs[1].element),
    donate_argnums=0,
    out_shardings=(shardings, None),
  )
  corpus = builders.make_corpus(config, "train", run.codecs)
  loader = builders.make_loader(config, lambda epoch: corpus, run.parallel, run.codecs)
  batches = []
  for batch in loader.once():
    batches.append(batch)
    if len(batches) == steps:
      break
  pictures = sum(int(batch["targets_segments"].max(axis=1).sum()) for batch in batches)
  placed = [run.parallel.place(batch) for batch in batches]
  state = make_state()
  with run.parallel.context():
    compiled = jax.jit(step.jitted).lower(state, placed[0]).compile()
  cost = compiled.cost_analysis()
  examples = builders.read_examples(config, "test", count)
  task = builders.make_task(config)
  metrics, _ = output_metrics(run.generator, run.params, task, examples)
  facts = {
    "count": len(examples),
    "flops_per_picture": cost["flops"] * steps / pictures,
    **metrics,
  }
  kept = [state]

  def one_round(number: int) -> dict:
    start = time.perf_counter()
    for batch in placed:
      kept[0], _ = step(kept[0], batch)
    jax.block_until_ready(kept[0])
    trained = pictures / (time.perf_counter() - start)
    start = time.perf_counter()
    run.generator(run.params, [example.source for example in examples])
    drawn = len(examples) / (time.perf_counter() - start)
    return {"trained_per_second": trained, "drawn_per_second": drawn}

  return one_round, facts


if __name__ == "__main__":
  main()

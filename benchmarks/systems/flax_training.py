"""Training steps of Flax's translation example."""

import functools
import os
from collections.abc import Callable

from sentences import read_batches

from systems import flax_example


def make(
  folder: str,
  per_round: int,
  size: tuple[int, int, int, int],
  vocab_size: int,
  dropout: float,
  threads: int,
) -> tuple[Callable, dict]:
  """Makes rounds of its `train_step` under `pmap`, state donated, on our packed rows.

  Args:
    folder: folder of `packed.npz`.
    per_round: steps per round.
    size: layers of each stack, D, N, F.
    vocab_size: V.
    dropout: dropout rate, everywhere the same.
    threads: unused; JAX chooses its number of threads itself.
  """
  del threads
  example = flax_example.load()
  import jax
  import optax
  from flax import jax_utils
  from flax.training import common_utils

  config = flax_example.make_config(example, size, vocab_size, dropout)
  params = flax_example.init_params(example, config)
  facts = flax_example.facts(params)
  state = jax_utils.replicate(
    example.TrainState.create(
      apply_fn=example.models.Transformer(config).apply,
      params=params,
      tx=optax.adamw(3e-4, b1=0.9, b2=0.98, eps=1e-9, weight_decay=0.0),
      dynamic_scale=None,
    )
  )
  step = jax.pmap(
    functools.partial(
      example.train_step, config=config, learning_rate_fn=lambda step: 3e-4, label_smoothing=0.1
    ),
    axis_name="batch",
    donate_argnums=0,
  )
  keys = jax.random.split(jax.random.key(0), jax.local_device_count())
  batches = [
    {name.replace("segments", "segmentation"): array for name, array in batch.items()}
    for batch in read_batches(os.path.join(folder, "packed.npz"))
  ]

  def run(number: int) -> dict:
    nonlocal state
    part, metrics = batches[number * per_round : (number + 1) * per_round], []
    for batch in part:
      named = {key: batch[key] for key in batch if key.startswith(("inputs", "targets"))}
      state, step_metrics = step(state, common_utils.shard(named), dropout_rng=keys)
      metrics.append(step_metrics)
    jax.block_until_ready(state)
    metrics = common_utils.get_metrics(metrics)
    tokens = [float(count) for count in metrics["denominator"]]
    return {
      "target_tokens": sum(tokens),
      "update_tokens": tokens,
      "loss": float(metrics["loss"][-1] / metrics["denominator"][-1]),
      "target_places": sum(batch["targets"].size for batch in part),
    }

  return run, facts

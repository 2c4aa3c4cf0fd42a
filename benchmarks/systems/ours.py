"""tfx_jax, as its command line runs it."""

import json
import os
from collections.abc import Callable

import numpy as np
from sentences import read_batches

COMPILED = "/jax/core/compile/backend_compile_duration"


def train(folder: str, per_round: int) -> tuple[Callable, dict]:
  """Makes rounds of training steps on packed rows; metrics are fetched one step late."""
  facts = start()
  import jax

  from tfx_jax import builders
  from tfx_jax.config import files as config_files
  from tfx_jax.models.parameters import EXAMPLE
  from tfx_jax.models.quantized import count_parameters
  from tfx_jax.training.state import plan_state

  config = config_files.read_config(folder)
  batches = read_batches(os.path.join(folder, "packed.npz"))
  parallel = builders.make_parallel(config)
  model = builders.make_model(config, builders.saved_tokenizers(config, folder))
  optimizer, schedule = builders.make_optimization(config)
  make_state, shardings = plan_state(model, optimizer, config.seed, EXAMPLE, parallel)
  step = parallel.jit(
    builders.make_step(config, model, optimizer, schedule, parallel),
    donate_argnums=0,
    out_shardings=(shardings, None),
  )
  state = make_state()

  def run(number: int) -> dict:
    nonlocal state
    before, losses = None, []
    part = batches[number * per_round : (number + 1) * per_round]
    for batch in part:
      state, metrics = step(state, parallel.place(batch))
      if before is not None:
        losses.append(jax.device_get(before)["loss"])
      before = metrics
    jax.block_until_ready(state)
    losses.append(jax.device_get(before)["loss"])
    assert step.jitted._cache_size() == 1, "the training step was compiled more than once"
    tokens = [float(loss.count) for loss in losses]
    return {
      "target_tokens": sum(tokens),
      "update_tokens": tokens,
      "loss": float(losses[-1].total / losses[-1].count),
      "target_places": sum(batch["weights"].size for batch in part),
    }

  return run, facts | {"parameters": count_parameters(state.params)}


def decode(folder: str, per_round: int, beam: int, tokens: int) -> tuple:
  """Makes rounds of generation from texts; each output has `tokens` tokens, if that is above 0."""
  facts = start()
  import jax
  from flax import linen as nn

  from tfx_jax import builders
  from tfx_jax.config import files as config_files
  from tfx_jax.models.parameters import EXAMPLE
  from tfx_jax.models.quantized import count_parameters
  from tfx_jax.training.state import init_params, plan_params

  config = config_files.read_config(folder)
  parallel = builders.make_parallel(config)
  tokenizers = builders.saved_tokenizers(config, folder)
  model = builders.make_model(config, tokenizers)
  _, shardings = plan_params(model, EXAMPLE, parallel)
  begin = parallel.jit(
    lambda: nn.unbox(init_params(model, config.seed, EXAMPLE)), out_shardings=shardings
  )
  params = begin()
  return _decoding(
    builders.make_generator(config, model, tokenizers, parallel),
    jax.block_until_ready(params),
    *(folder, per_round, beam, tokens),
    facts | {"parameters": count_parameters(params)},
  )


def decode_trained(folder: str, workdir: str, per_round: int, beam: int, tokens: int) -> tuple:
  """Makes the rounds of `decode` for a trained run."""
  facts = start()
  import tfx_jax
  from tfx_jax.config import files as config_files

  run = tfx_jax.load(workdir, config=config_files.read_config(folder))
  return _decoding(run.generator, run.params, folder, per_round, beam, tokens, facts)


def _decoding(
  generator: Callable, params: object, folder: str, per_round: int, beam: int, tokens: int,
  facts: dict,
) -> tuple[Callable, dict]:  # fmt: skip
  """See `decode`."""
  import jax

  from tfx_jax.generation.batches import prompt_lengths

  with open(os.path.join(folder, "texts.txt"), encoding="utf-8") as file:
    texts = file.read().split("\n")[:-1]
  with open(os.path.join(folder, "sources.json")) as file:
    sizes = np.array([len(ids) for ids in json.load(file)])
  compiled = 0

  def count(name: str, *_: object, **__: object) -> None:
    nonlocal compiled
    compiled += name == COMPILED

  jax.monitoring.register_event_duration_secs_listener(count)
  exactly = {"min_length": tokens, "max_length": tokens, "max_length_ratio": 0.0} if tokens else {}
  # A batch of every length that prompts are padded to, with outputs of maximum length, so that
  # nothing is left to compile.
  longest = exactly or {"min_length": generator.settings.max_length}
  order = np.argsort(sizes, kind="stable")
  for length in prompt_lengths(generator.settings.max_source_length):
    fitting = order[sizes[order] <= length][-generator.settings.batch_size :]
    generator(params, [texts[i] for i in fitting], beam_size=beam, **longest)

  def run(number: int) -> dict:
    before = compiled
    part = np.arange(number * per_round, (number + 1) * per_round) % len(texts)
    outputs = generator(params, [texts[i] for i in part], beam_size=beam, **exactly)
    lengths = [len(hypotheses[0].tokens) for hypotheses in outputs]
    assert not tokens or set(lengths) == {tokens}, f"outputs have {set(lengths)} tokens"
    return {
      "output_tokens": sum(lengths),
      "lengths": lengths,
      "compilations": compiled - before,
    }

  return run, facts


def start() -> dict:
  """Sets up JAX as a command does before it computes; returns facts about the machine."""
  import jax

  from tfx_jax import builders
  from tfx_jax.runtime import allocator, compilation_cache

  allocator.compute_where_buffers_are_kept()
  compilation_cache.use(os.path.join(builders.cache_folder(), "xla"))
  return {
    "jax": jax.__version__,
    "platform": jax.default_backend(),
    "device": jax.devices()[0].device_kind,
    "keeps_buffers": "GLIBC_TUNABLES" in os.environ,
  }

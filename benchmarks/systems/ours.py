"""tfx_jax, as its command line runs it."""

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np
from sentences import read_batches

from systems import trained

COMPILED = "/jax/core/compile/backend_compile_duration"
# Settings of beam search that other libraries define in their own ways.
SEARCH = {
  *("beam_size", "length_penalty", "length_penalty_form", "early_stopping"),
  *("max_length", "max_length_ratio"),
}


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
  model = builders.make_model(config, builders.saved_codecs(config, folder))
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
  """Makes rounds of generation from texts by random weights; an output has `tokens` tokens."""
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
  tokenizers = builders.saved_codecs(config, folder)
  model = builders.make_model(config, tokenizers)
  _, shardings = plan_params(model, EXAMPLE, parallel)
  begin = parallel.jit(
    lambda: nn.unbox(init_params(model, config.seed, EXAMPLE)), out_shardings=shardings
  )
  params = begin()
  params = jax.block_until_ready(params)
  generator = builders.make_generator(config, model, tokenizers, parallel)
  texts = trained.read_lines(os.path.join(folder, "texts.txt"))
  exactly = {"min_length": tokens, "max_length": tokens, "max_length_ratio": 0.0}

  def run(number: int) -> dict:
    part = np.arange(number * per_round, (number + 1) * per_round) % len(texts)
    outputs = generator(params, [texts[i] for i in part], beam_size=beam, **exactly)
    lengths = [len(hypotheses[0].tokens) for hypotheses in outputs]
    assert set(lengths) == {tokens}, f"outputs have {set(lengths)} tokens"
    return {"output_tokens": sum(lengths), "lengths": lengths}

  # All sources once, in batches of a round, so that nothing is left to compile.
  for number in range(-(-len(texts) // per_round)):
    run(number)
  return compilations()(run), facts | {"parameters": count_parameters(params)}


def decode_trained(folder: str, workdir: str, settings: dict) -> tuple[Callable, dict]:
  """Makes rounds of a trained run; see `systems.trained.make`."""
  facts = start()
  count = compilations()
  run, found = trained.make(
    "systems.ours:open_run", folder, workdir=workdir, settings=settings, config=folder
  )
  return count(run), facts | found


def open_run(workdir: str, settings: dict, config: str = "") -> tuple[Callable, dict]:
  """Opens a trained run as a notebook does; see `systems.trained.make`.

  Args:
    workdir: the run.
    settings: changes of the section `generate`.
    config: folder of a configuration that replaces the run's; "" for none.
  """
  import tfx_jax

  if config:
    from tfx_jax.config.files import read_config

    run = tfx_jax.load(workdir, config=read_config(config))
  else:
    run = tfx_jax.load(workdir)

  def translate(texts: Sequence[str]) -> list[tuple[str, int]]:
    return [(best.text, len(best.tokens)) for best, *_ in run.generate(texts, **settings)]

  return translate, {"search": search_settings(run.config.generate.to_dict() | settings)}


def search_settings(generate: dict) -> dict:
  """Returns the usual settings of beam search, and all others that are not the default."""
  from tfx_jax.generation.settings import GenerateSettings

  defaults = dataclasses.asdict(GenerateSettings())
  return {
    name: generate[name]
    for name, default in defaults.items()
    if name in SEARCH or generate[name] not in (default, [*default] if default == () else default)
  }


def compilations() -> Callable[[Callable], Callable]:
  """Returns a function that makes rounds count the programs that they compile."""
  import jax

  compiled = 0

  def count(event: str, *_: object, **__: object) -> None:
    nonlocal compiled
    compiled += event == COMPILED

  jax.monitoring.register_event_duration_secs_listener(count)

  def counting(run: Callable) -> Callable:
    def counted(number: int) -> dict:
      before = compiled
      return run(number) | {"compilations": compiled - before}

    return counted

  return counting


def start() -> dict:
  """Sets up JAX as a command does before it computes; returns facts about the machine."""
  import jax

  from tfx_jax import builders
  from tfx_jax.runtime import allocator, compilation_cache

  allocator.compute_where_buffers_are_kept()
  compilation_cache.use(builders.cache_folder())
  return {
    "jax": jax.__version__,
    "platform": jax.default_backend(),
    "device": jax.devices()[0].device_kind,
    "keeps_buffers": "GLIBC_TUNABLES" in os.environ,
  }

"""tfx_jax at any size on random tokens: rows are full, and outputs have a given length."""

from collections.abc import Callable, Sequence

import numpy as np

from systems.memory import Memory
from systems.ours import start


class Numbers:
  """A tokenizer of any size whose pieces are numbers, like "5 6 7"."""

  def __init__(self, vocab_size: int):
    from tfx_jax.codecs.codec import Tokens

    self.element, self.fingerprint = Tokens(vocab_size), f"numbers-{vocab_size}"
    self.vocab_size, self.special_tokens = vocab_size, self.element.special_tokens

  def encode(self, texts: Sequence[str]) -> list[list[int]]:  # noqa: D102
    return [[int(word) for word in text.split()] for text in texts]

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:  # noqa: D102
    return [" ".join(map(str, sequence)) for sequence in ids]

  def pieces(self, ids: Sequence[int]) -> list[str]:  # noqa: D102
    return [str(i) for i in ids]


def make_config(point: dict):
  """Returns the configuration of a point of benchmarks/mfu.py or benchmarks/growth.py."""
  from tfx_jax.config import base
  from tfx_jax.config.override import override

  config = base()
  width, depth, length = point["width"], point["depth"], point["length"]
  config.model.update(
    features=width, feed_forward=point.get("feed_forward", 2 * width),
    num_heads=point.get("heads", max(width // 32, 1)), encoder_layers=depth, decoder_layers=depth,
    dtype=point["dtype"],
  )  # fmt: skip
  config.data.update(source_length=length, target_length=length, batch_size=point["batch"])
  config.tokenizer.vocab_size = point["vocabulary"]
  if point.get("decoder_only"):
    config.model.architecture = "decoder_only"
    config.task.update(name="text", metrics=())
  for key, text in point.get("overrides", {}).items():
    override(config, key, text)
  config.optimizer.warmup_steps = 1
  config.generate.update(
    beam_size=point.get("beam", 1), max_source_length=length, min_length=length, max_length=length,
    max_length_ratio=0.0, batch_size=point["batch"],
  )  # fmt: skip
  return config


def train(point: dict, steps: int) -> tuple[Callable, dict]:
  """Makes rounds of steps on a batch of `batch` pairs with `length` tokens per side."""
  facts = start()
  import jax

  from tfx_jax import builders
  from tfx_jax.data.packing import pack
  from tfx_jax.models.parameters import EXAMPLE
  from tfx_jax.models.quantized import count_parameters
  from tfx_jax.training.state import plan_state

  config = make_config(point)
  tokens = np.random.default_rng(0).integers(
    4, point["vocabulary"], (2, point["batch"], 1, point["length"])
  )
  parallel = builders.make_parallel(config)
  batch = pack(*tokens, point["length"], point["length"])
  if point.get("decoder_only"):
    batch = {name: x for name, x in batch.items() if not name.startswith("inputs")}
  batch = parallel.place(batch)
  model = builders.make_model(config, (Numbers(point["vocabulary"]),) * 2)
  optimizer, schedule = builders.make_optimization(config)
  make_state, shardings = plan_state(model, optimizer, 0, EXAMPLE, parallel)
  state = make_state()
  step = parallel.jit(
    builders.make_step(config, model, optimizer, schedule, parallel),
    donate_argnums=0,
    out_shardings=(shardings, None),
  )
  with parallel.context():
    compiled = step.jitted.lower(state, batch).compile()
  plan = compiled.memory_analysis()
  planned = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes
  facts |= {
    "parameters": count_parameters(state.params),
    "program_mb": round((planned - plan.alias_size_in_bytes) / 1e6, 1),
  }

  memory = Memory()

  def run(number: int) -> dict:
    nonlocal state
    if not number:
      state, _ = jax.block_until_ready(compiled(state, batch))
      memory.begin()
    for _ in range(steps):
      state, metrics = compiled(state, batch)
    jax.block_until_ready(state)
    return {"loss": float(metrics["loss"].total), "peak_mb": memory.mb()}

  return run, facts


def decode(point: dict, steps: int) -> tuple[Callable, dict]:
  """Makes rounds of searches for `batch` sources; these and the outputs have `length` tokens."""
  facts = start()
  import jax
  from flax import linen as nn

  from tfx_jax import builders
  from tfx_jax.models.parameters import EXAMPLE
  from tfx_jax.training.state import init_params

  config = make_config(point)
  tokenizers = (Numbers(point["vocabulary"]),) * 2
  parallel = builders.make_parallel(config)
  model = builders.make_model(config, tokenizers)
  params = parallel.jit(lambda: nn.unbox(init_params(model, 0, EXAMPLE)))()
  generator = builders.make_generator(config, model, tokenizers, parallel)
  # One position is for EOS.
  tokens = np.random.default_rng(0).integers(
    4, point["vocabulary"], (point["batch"], point["length"] - 1)
  )
  texts = tokenizers[0].decode(tokens.tolist())
  jax.block_until_ready(params)

  memory = Memory()

  def run(number: int) -> dict:
    if not number:
      generator(params, texts)
      memory.begin()
    for _ in range(steps):
      outputs = generator(params, texts)
    lengths = {len(hypotheses[0].tokens) for hypotheses in outputs}
    assert lengths == {point["length"]}, f"outputs have {lengths} tokens"
    return {"peak_mb": memory.mb()}

  return run, facts

"""Decoding by Flax's translation example."""

import functools
from collections.abc import Callable

import numpy as np
from sentences import pad

from systems import flax_example
from systems.sources import read_rounds

# Sources are padded to a multiple of this, so that few programs are compiled.
MULTIPLE = 8
NEVER = -1


def make(
  folder: str,
  per_round: int,
  beam: int,
  tokens: int,
  size: tuple[int, int, int, int],
  vocab_size: int,
  rows: int,
  threads: int,
) -> tuple[Callable, dict]:
  """Makes rounds of its `predict_step` under `pmap`, with exactly `tokens` tokens per source.

  Batches have `rows` sources of similar length. Outputs do not end with EOS. The arguments are
  those of the other systems; JAX chooses its number of threads itself.
  """
  del threads
  example = flax_example.load()
  import jax
  from flax import jax_utils
  from flax.training import common_utils

  from tfx_jax.config import files as config_files

  config = flax_example.make_config(example, size, vocab_size, dropout=0.0)
  params = flax_example.init_params(example, config)
  facts = flax_example.facts(params)
  config = config.replace(deterministic=True, decode=True)
  params = jax_utils.replicate(params)
  # Its outputs start with a token that it removes.
  length = tokens + 1
  cache = jax.pmap(
    functools.partial(example.initialize_cache, max_decode_len=length, config=config),
    axis_name="batch",
  )
  search = jax.pmap(
    functools.partial(example.predict_step, config=config, beam_size=beam),
    axis_name="batch",
    static_broadcasted_argnums=(3, 4),
  )
  part = read_rounds(folder, per_round)

  def translate(sources: list) -> list[int]:
    longest = -(-max(map(len, sources)) // MULTIPLE) * MULTIPLE
    padded = np.zeros((len(sources), longest), np.int32)
    own = pad([np.array(source) for source in sources])
    padded[:, : own.shape[1]] = own
    inputs = common_utils.shard(padded)
    outputs = example.tohost(search(inputs, params, cache(inputs), NEVER, length))
    return [len(output) for output in outputs]

  def run(number: int) -> dict:
    sources = sorted(part(number), key=len)
    lengths = []
    for start in range(0, len(sources), rows):
      lengths += translate(sources[start : start + rows])
    assert set(lengths) == {tokens}, f"outputs have {set(lengths)} tokens"
    return {"output_tokens": sum(lengths), "lengths": lengths}

  longest = config_files.read_config(folder).generate.max_source_length
  for length_of_all in range(MULTIPLE, longest + MULTIPLE, MULTIPLE):
    translate([[1] * length_of_all] * rows)
  return run, facts

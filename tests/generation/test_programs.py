"""Number of programs that are compiled, whatever the lengths of inputs and outputs."""

import contextlib

import jax
import pytest

from tfx_jax import builders
from tfx_jax.generation import batches

# Every program is lowered once, whether XLA compiles it or finds it on disk.
LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
# Beside the program that prepares parameters.
MOST = 7


@contextlib.contextmanager
def counting_programs():
  programs = []

  def listen(name, *_, **__):
    if name == LOWERED:
      programs.append(name)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield programs
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def new_generator(small):
  """Makes a generator that has no programs but the one that prepares parameters."""
  codecs = small.tokenizer, small.tokenizer
  generator = builders.make_generator(small.config, small.model, codecs, small.parallel)
  assert generator(small.params, [" "])  # nothing is generated, but parameters are prepared
  return generator


@pytest.mark.parametrize(
  "settings",
  [
    {"beam_size": 4, "num_return": 1},
    {"beam_size": 4, "beam_groups": 2},
    {"beam_size": 1, "num_return": 1},
    {"search": "sample", "num_return": 2, "seed": 1},
  ],
  ids=["beam", "diverse", "greedy", "sample"],
)
def test_inputs_of_any_lengths_need_few_programs(small, texts, settings):
  generator = new_generator(small)
  lengths = {len(text.strip()) for text in texts}
  assert min(lengths) < 3 and max(lengths) > 20
  with counting_programs() as programs:
    found = generator(small.params, texts, **settings)
  outputs = {len(best[0].tokens) for best in found}
  assert min(outputs) <= 4 and max(outputs) > 8  # caches have grown as far as they do
  assert 3 < len(programs) <= MOST
  with counting_programs() as programs:
    generator(small.params, texts[::-1], **settings)
  assert not programs


STREAMED = {"beam_size": 1, "num_return": 1, "min_length": 4}


def test_a_stream_compiles_two_programs_before_its_second_chunk_and_nothing_later(small):
  """Its output is longer than the first capacity of a cache that grows."""
  generator = new_generator(small)
  settings = STREAMED | {"min_length": 12}
  stream = generator.stream(small.params, "abcdef", **settings)
  with counting_programs() as programs:
    begun = [next(stream), next(stream)]
  assert len(programs) == 2
  with counting_programs() as programs:
    rest = list(stream)
    stream = generator.stream(small.params, "abcde", **settings)
    next(stream)
    stream.close()
    list(generator.stream(small.params, "c", **settings))
  assert len("".join(begun)) < batches.FIRST_CACHE_LENGTH < len(rest)
  assert not programs


def test_streams_of_inputs_of_any_lengths_need_few_programs(small):
  generator = new_generator(small)
  with counting_programs() as programs:
    for length in (1, 7, 8, 15, 16, 23):
      list(generator.stream(small.params, "a" * length, **STREAMED))
  assert len(programs) == 2 * len(batches.prompt_lengths(24))

"""Number of programs that are compiled, whatever the lengths of inputs and outputs."""

import contextlib

import jax
import pytest

from tfx_jax import builders

# Every program is lowered once, whether XLA compiles it or finds it on disk.
LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
MOST = 8


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
  codecs = small.tokenizer, small.tokenizer
  generator = builders.make_generator(small.config, small.model, codecs, small.parallel)
  lengths = {len(text.strip()) for text in texts}
  assert min(lengths) < 3 and max(lengths) > 20
  with counting_programs() as programs:
    found = generator(small.params, texts, **settings)
  outputs = {len(best[0].tokens) for best in found}
  assert min(outputs) <= 4 and max(outputs) > 8  # caches have grown as far as they do
  assert 4 < len(programs) <= MOST
  with counting_programs() as programs:
    generator(small.params, texts[::-1], **settings)
  assert not programs

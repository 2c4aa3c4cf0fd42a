"""The programs of a search."""

import pytest

from tfx_jax.generation.search import SearchPrograms
from tfx_jax.models.ensemble import combine


def layers(params, stack="decoder_stack"):
  return params[stack]["layers"]["stacked"]


@pytest.mark.parametrize("name", ["small", "alone"])
def test_parameters_are_prepared_by_one_program_with_layers_apart(name, request):
  run = request.getfixturevalue(name)
  programs = SearchPrograms(run.model, run.parallel)
  # All models share the function and its cache, which may know these shapes already.
  before = programs.prepare.jitted._cache_size()
  prepared = programs.prepare(params=run.params)
  compiled = programs.prepare.jitted._cache_size()
  programs.prepare(params=run.params)
  assert before <= compiled <= before + 1
  assert programs.prepare.jitted._cache_size() == compiled
  assert isinstance(layers(prepared), list)
  assert len(layers(prepared)) == run.config.model.decoder_layers
  if name == "small":
    assert len(layers(prepared, "encoder_stack")) == run.config.model.encoder_layers


def test_those_of_each_member_of_an_ensemble_are(small):
  model, params = combine([small.model] * 2, [small.params] * 2)
  found = SearchPrograms(model, small.parallel).prepare(params=params)
  assert found.keys() == params.keys() and len(found) == 2
  assert all(isinstance(layers(own), list) for own in found.values())

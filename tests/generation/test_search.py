"""The programs of a search."""

import pytest

from tfx_jax.generation.search import Searcher
from tfx_jax.models.ensemble import combine


def layers(params, stack="decoder_stack"):
  return params[stack]["layers"]["stacked"]


@pytest.mark.parametrize("name", ["small", "alone"])
def test_parameters_are_prepared_by_one_program_with_layers_apart(name, request):
  run = request.getfixturevalue(name)
  searcher = Searcher(run.model, run.parallel)
  found = searcher.prepare(params=run.params)
  searcher.prepare(params=run.params)
  assert searcher.prepare.jitted._cache_size() == 1
  assert isinstance(layers(found), list) and len(layers(found)) == run.config.model.decoder_layers
  if name == "small":
    assert len(layers(found, "encoder_stack")) == run.config.model.encoder_layers


def test_those_of_each_member_of_an_ensemble_are(small):
  model, params = combine([small.model] * 2, [small.params] * 2)
  found = Searcher(model, small.parallel).prepare(params=params)
  assert found.keys() == params.keys() and len(found) == 2
  assert all(isinstance(layers(own), list) for own in found.values())
